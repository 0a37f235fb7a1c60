"""A run's train step as the program that an accelerator's compiler is given.

The step is the run's own (`make_replica_step`), traced for one replica of the target's slice and
lowered by TensorFlow to HLO. What is summed over the replicas stands in it as an all-reduce, and a
loop of steps as a loop. Nothing is computed or allocated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from pipeline.data.batches.distributed_batches import check_divisible
from pipeline.data.batches.train_batches import batch_specs
from pipeline.readiness.compilers.program import PARTS, Program
from pipeline.readiness.compilers.replicas import CompiledReplicas
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.loop.compute_meter import training_flops
from pipeline.training.objectives.objective import build_objective_model, label_spec
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import Metrics, make_replica_step

TOTAL_STEPS = 100_000
"""Of the schedule: a constant of the program, so that runs of other lengths share one."""


def check_batch(config: PretrainConfig, replicas: int) -> None:
    """Raise a UserError where the replicas cannot share the global batch."""
    check_divisible(config, replicas, mixes_images=config.data.mixes_images)


def lower_step(
    config: PretrainConfig,
    *,
    num_classes: int,
    policy: str,
    replicas: int,
) -> Program:
    """Trace and lower `config.steps_per_loop` steps of a run.

    Args:
        config: of the run; its `batch_size` is a multiple of `replicas` × `accumulate`.
        num_classes: outputs of the head.
        policy: Keras dtype policy of the model, such as mixed_bfloat16.
        replicas: chips that share the global batch.

    Raises:
        UserError: the model cannot be.
    """
    strategy = CompiledReplicas(replicas)
    with strategy.scope():
        model = build_objective_model(
            config,
            config.model,
            config.data.height_width,
            num_classes,
            seed=config.seed,
            policy=policy,
        )
        state = TrainState(
            model,
            config.optim,
            seed=config.seed,
            ema_decay=config.ema_decay,
            scale_loss=policy == "mixed_float16",
        )
    patch_size = min(config.patch_sizes or (), default=None)  # the largest program
    step = _make_step(strategy, state, config, patch_size)
    share = config.batch_size // replicas
    specs = batch_specs(config.data, share, label_spec(config, share, num_classes))
    steps = config.steps_per_loop
    if steps > 1:
        step = _loop(step, specs, steps)
        specs = [tf.TensorSpec([steps, *spec.shape], spec.dtype) for spec in specs]
    function = tf.function(step, jit_compile=True, autograph=False)
    concrete = function.get_concrete_function(*specs)
    hlo = _canonical(function.experimental_get_compiler_ir(*specs)(stage="hlo_serialized"))
    parts = _parts(state)
    sizes = dict.fromkeys(PARTS, 0)
    for handle in concrete.captured_inputs:
        part, size = parts[id(handle)]
        sizes[part] += size
    sizes["batch"] = sum(map(_bytes, specs))
    return Program(
        hlo=hlo,
        replicas=replicas,
        steps=steps,
        accumulate=config.accumulate,
        images=config.batch_size,
        model_flops=training_flops(model, [patch_size] if patch_size else None),
        part_bytes=sizes,
        gradient_bytes=sum(map(_bytes, state.variables)),
    )


def _make_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    config: PretrainConfig,
    patch_size: int | None,
) -> Callable[..., Metrics]:
    replica_step = make_replica_step(
        state, config, total_steps=TOTAL_STEPS, jit_compile=False, patch_size=patch_size
    )

    def step(*batch: tf.Tensor) -> Metrics:
        metrics: Metrics = strategy.run(replica_step, args=batch)
        state.step.assign_add(1)
        if state.loss_scale is not None:
            state.loss_scale.update(tf.math.is_finite(metrics["gradient_norm"]))
        return metrics

    return step


def _loop(
    step: Callable[..., Metrics], specs: Sequence[tf.TensorSpec], steps: int
) -> Callable[..., Metrics]:
    """`steps` steps over batches `[steps, …]`, to the metrics of the last."""
    traced = tf.function(step, autograph=False)
    outputs = traced.get_concrete_function(*specs).structured_outputs

    def body(index: tf.Tensor, batches: Sequence[tf.Tensor]) -> tuple[tf.Tensor, Metrics]:
        return index + 1, traced(*(batch[index] for batch in batches))

    def loop(*batches: tf.Tensor) -> Metrics:
        nothing = {name: tf.zeros(out.shape, out.dtype) for name, out in outputs.items()}
        metrics: Metrics
        _, metrics = tf.while_loop(
            lambda index, _: index < steps,
            lambda index, _: body(index, batches),
            (tf.constant(0), nothing),
            maximum_iterations=steps,
        )
        return metrics

    return loop


def _canonical(hlo: bytes) -> bytes:
    """The same bytes for the same program: without counters of this process, maps in order."""
    module = hlo_pb2.HloModuleProto.FromString(hlo)
    module.name = "step"
    module.ClearField("id")
    for computation in module.computations:
        if computation.id == module.entry_computation_id:
            computation.name = module.entry_computation_name = "main"
    canonical: bytes = module.SerializeToString(deterministic=True)
    return canonical


def _parts(state: TrainState) -> dict[int, tuple[str, int]]:
    """The part that each variable belongs to and its bytes, by the identity of its handle."""
    scale = state.loss_scale
    variables = {
        "weights": [weight.value for weight in state.model.variables],
        "optimizer": state.optimizer.memory,
        "average": state.ema,
        "state": [state.step, state.seed, *(scale.variables().values() if scale else ())],
    }
    return {
        id(variable.handle): (part, _bytes(variable))
        for part, members in variables.items()
        for variable in members
    }


def _bytes(value: tf.TensorSpec | tf.Variable) -> int:
    size: int = math.prod(value.shape) * value.dtype.size
    return size
