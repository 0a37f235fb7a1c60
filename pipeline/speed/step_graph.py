"""What a train step asks of the host and of the network, read from its graph without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import tensorflow as tf

from pipeline.data.batches.distributed_batches import check_divisible
from pipeline.data.batches.train_batches import batch_specs
from pipeline.devices.strategy import policy_on
from pipeline.speed.benchmark_config import TrainingBenchmarkConfig
from pipeline.speed.training_speed import open_train_split
from pipeline.training.objectives.objective import build_objective_model, label_spec
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import make_train_step

SEVERAL = 2
"""Replicas: the fewest that have anything to tell each other."""
FREE = ("Const", "Placeholder", "NoOp", "Identity", "IdentityN")
"""Operations that compute nothing."""
CALLS = (
    "PartitionedCall",
    "StatefulPartitionedCall",
    "If",
    "StatelessIf",
    "While",
    "StatelessWhile",
)
COLLECTIVES = ("CollectiveReduceV2", "CollectiveGatherV2", "NcclAllReduce")


@dataclass(frozen=True)
class StepGraph:
    """One step of one replica."""

    operations: int
    """Outside of functions that XLA compiles; those are not among them. A loop's body counts
    once."""
    compiled_functions: int
    """Calls of such functions."""
    host_to_device_bytes: int
    """The replica's share of the batch."""
    collective_bytes: list[int]
    """Sizes of what is summed or gathered over the replicas, largest first."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def read_step_graph(config: TrainingBenchmarkConfig, replicas: int = SEVERAL) -> StepGraph:
    """Trace the step of `config` for logical CPUs, as for accelerators.

    XLA compiles what it can unless `jit_compile` is false.

    Args:
        config: of the job; its strategy does not matter.
        replicas: 1, or `SEVERAL`.

    Raises:
        UserError: there is no such dataset, or the batch does not divide evenly.
    """
    _, num_classes = open_train_split(config)
    check_divisible(config, replicas, mixes_images=config.data.mixes_images)
    strategy = tf.distribute.get_strategy() if replicas == 1 else _strategy()
    with strategy.scope():
        policy = policy_on("CPU", config.precision)
        size = config.data.height_width
        model = build_objective_model(
            config, config.model, size, num_classes, seed=config.seed, policy=policy
        )
        state = TrainState(
            model,
            config.optim,
            seed=config.seed,
            ema_decay=config.ema_decay,
            scale_loss=policy == "mixed_float16",
        )
    step = make_train_step(
        strategy,
        state,
        config,
        total_steps=config.steps or 1_000_000,
        jit_compile=config.jit_compile != "false",
    )
    share = config.batch_size // replicas
    batch = tuple(batch_specs(config.data, share, label_spec(config, share, num_classes)))
    empty = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=batch)
    batches = strategy.distribute_datasets_from_function(lambda context: empty)
    graph = tf.function(step).get_concrete_function(*batches.element_spec).graph
    operations = [op for op in _operations(graph) if op.type not in FREE]
    compiled = [op for op in operations if _is_compiled(op)]
    sizes = [_bytes(op.outputs[0]) for op in operations if op.type in COLLECTIVES]
    return StepGraph(
        operations=(len(operations) - len(compiled)) // replicas,
        compiled_functions=len(compiled) // replicas,
        host_to_device_bytes=sum(spec.shape.num_elements() * spec.dtype.size for spec in batch),
        collective_bytes=sorted(sizes, reverse=True)[::replicas],
    )


def _strategy() -> tf.distribute.Strategy:
    """Over logical CPUs, with the collective operations of several workers."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is None:
        devices = [tf.config.LogicalDeviceConfiguration()] * SEVERAL
        tf.config.set_logical_device_configuration(cpu, devices)
    names = [device.name for device in tf.config.list_logical_devices("CPU")[:SEVERAL]]
    return tf.distribute.MirroredStrategy(names)


def _operations(graph: tf.Graph) -> Iterator[tf.Operation]:
    """Of a graph and of the functions that it calls, but for those that XLA compiles."""
    for operation in graph.get_operations():
        called = [] if _is_compiled(operation) else _called(graph, operation)
        if not called:
            yield operation
        for function in called:
            yield from _operations(function)


def _called(graph: tf.Graph, operation: tf.Operation) -> list[tf.Graph]:
    if operation.type not in CALLS:
        return []
    names = [
        value.func.name for value in operation.node_def.attr.values() if value.HasField("func")
    ]
    return [graph._get_function(name).graph for name in names]


def _is_compiled(operation: tf.Operation) -> bool:
    attributes = operation.node_def.attr
    return "_XlaMustCompile" in attributes and bool(attributes["_XlaMustCompile"].b)


def _bytes(tensor: tf.Tensor) -> int:
    return int((tensor.shape.num_elements() or 0) * tensor.dtype.size)
