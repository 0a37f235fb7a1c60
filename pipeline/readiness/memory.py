"""Memory of one replica while it trains, and what makes it fit."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import keras
import tensorflow as tf

from pipeline.process.check import Check, gigabytes
from pipeline.readiness.activations import activations
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.objectives.objective import build_objective_model
from pipeline.training.objectives.patch_sizes import model_at
from pipeline.training.optimizers.keras_arguments import WITH_MOMENT_DTYPE
from pipeline.training.optimizers.make_optimizer import make_optimizer
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.optimizers.optimizer import Optimizer
from pipeline.training.optimizers.weight_rules import weight_rules

FLOAT32 = 4
USABLE = 0.92
"""Share of a device's memory that is for tensors: the rest is for the driver, kernels and the
holes between tensors. An assumption, not a measurement."""
TPU_HOLES = 1.06
"""A TPU's compiler packs what lives at the same time less tightly: this times its sum."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one replica.

    Attributes:
        weights: in float32, and a copy in the compute type where that is smaller.
        gradients: of one microbatch, their sum over microbatches, what the all-reduce packs, and
            what SAM keeps of the weights.
        slots: of the optimizer; exact.
        average: moving average of the weights.
        activations: of one microbatch; see `activations`.
        images: batches on the device: the one in use and the next.
    """

    weights: int
    gradients: int
    slots: int
    average: int
    activations: int
    images: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.fixed + self.activations + self.images

    @property
    def program(self) -> int:
        """What the step's program takes: all but the next batch."""
        return self.total - self.images // 2

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.weights + self.gradients + self.slots + self.average

    def __str__(self) -> str:
        """One line for the user."""
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.slots,
            "average": self.average,
            "activations": self.activations,
            "images": self.images,
        }
        listed = ", ".join(f"{name} {gigabytes(size)}" for name, size in parts.items() if size)
        return f"about {gigabytes(self.total)} a replica: {listed}"


def slot_bytes(model: keras.Model, optim: OptimConfig) -> int:
    """Bytes of the optimizer's slots for `model`, of which nothing is allocated."""
    with tf.Graph().as_default():
        weights = [_stand_in(weight) for weight in model.trainable_variables]
        return bytes_of(make_optimizer(weights, weight_rules(model, optim), optim))


def bytes_of(optimizer: Optimizer) -> int:
    """Bytes of all that an optimizer remembers."""
    return sum(math.prod(slot.shape) * slot.dtype.size for slot in optimizer.memory)


def _stand_in(weight: keras.Variable) -> keras.Variable:
    """A variable of the same path and shape, in the graph that is the default."""
    *scopes, name = weight.path.split("/")
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(keras.name_scope(scope))
        return keras.Variable(tf.zeros(weight.shape), name=name)


def checkpoint_bytes(model: keras.Model, config: PretrainConfig, slots: int) -> int:
    """Bytes of one checkpoint: weights, slots and averages."""
    weights: int = FLOAT32 * sum(math.prod(weight.shape) for weight in model.weights)
    average = 0 if config.ema_decay is None else FLOAT32 * _parameters(model)
    return weights + slots + average


def estimate(
    model: keras.Model,
    config: PretrainConfig,
    *,
    slots: int,
    replicas: int,
    compute_bytes: int,
    device: str,
) -> Memory:
    """Estimate the memory of one replica.

    Args:
        model: what is trained; it may have been made with shapes alone.
        config: of the run. Where its `model.remat` is given, it wins over that of `model`.
        slots: bytes of the optimizer's; see `slot_bytes`.
        replicas: that share the global batch.
        compute_bytes: bytes of a number in the compute type, 2 or 4.
        device: that the replica is on: CPU, GPU or TPU.
    """
    parameters = _parameters(model)
    held = sum(math.prod(weight.shape) for weight in model.weights)
    per_replica = math.ceil(config.batch_size / replicas)
    microbatch = math.ceil(per_replica / config.accumulate)
    largest = model_at(model, min(config.patch_sizes)).model if config.patch_sizes else model
    kept = activations(largest, compute_bytes, device, config.model.remat)
    passed = microbatch * (kept.kept + kept.working)
    copied = compute_bytes < FLOAT32 and device != "TPU"  # which casts within its products
    summed = (config.accumulate > 1) + (config.optim.sam_rho is not None)
    if device == "CPU":
        summed += 1 + (replicas > 1)
    else:
        # Gradients take the place of what the backward pass is done with.
        passed = int(passed * (TPU_HOLES if device == "TPU" else 1))
        passed = max(passed - FLOAT32 * parameters, 0)
        summed += config.accumulate == 1
    return Memory(
        weights=held * (FLOAT32 + (copied and compute_bytes)),
        gradients=FLOAT32 * parameters * summed,
        slots=slots,
        average=0 if config.ema_decay is None else FLOAT32 * parameters,
        activations=passed,
        images=2 * per_replica * math.prod(config.data.height_width) * 3 * FLOAT32,
    )


def estimate_of(
    config: PretrainConfig, *, num_classes: int, policy: str, replicas: int, device: str
) -> Memory:
    """Estimate the memory of one replica of a run; its model is made with shapes alone.

    Args:
        config: of the run.
        num_classes: outputs of the head.
        policy: Keras dtype policy of the model.
        replicas: that share the global batch.
        device: that each is on.
    """
    with keras.StatelessScope(initialize_variables=False):
        model = build_objective_model(
            config,
            config.model,
            config.data.height_width,
            num_classes,
            seed=config.seed,
            policy=policy,
        )
    return estimate(
        model,
        config,
        slots=slot_bytes(model, config.optim),
        replicas=replicas,
        compute_bytes=compute_bytes(policy),
        device=device,
    )


def compute_bytes(policy: str) -> int:
    """Bytes of a number in the compute type of a Keras dtype policy."""
    return 2 if policy.startswith("mixed_") else 4


def check_memory(
    model: keras.Model,
    config: PretrainConfig,
    *,
    slots: int,
    replicas: int,
    compute_bytes: int,
    device: str,
    device_bytes: int | None,
) -> Check:
    """Hold the estimate against a device's memory; where it does not fit, tell what would.

    Only what does not depend on the batch is known well enough to be called an error.
    """

    @functools.cache
    def slots_of(moment_dtype: Literal["float32", "bfloat16"]) -> int:
        if moment_dtype == config.optim.moment_dtype:
            return slots
        return slot_bytes(model, replace(config.optim, moment_dtype=moment_dtype))

    def memory(changed: PretrainConfig) -> Memory:
        return estimate(
            model,
            changed,
            slots=slots_of(changed.optim.moment_dtype),
            replicas=replicas,
            compute_bytes=compute_bytes,
            device=device,
        )

    needed = memory(config)
    if device_bytes is None:
        return Check("memory", "not checked", f"{needed}; the device's is not known")
    usable = int(device_bytes * USABLE)
    found = f"{needed}; the device has {gigabytes(device_bytes)}"
    if needed.total <= usable:
        return Check("memory", "ok", found)
    advice = advise(config, lambda changed: memory(changed).total, usable, replicas)
    return Check("memory", "error" if needed.fixed > device_bytes else "warning", found, advice)


def advise(
    config: PretrainConfig, total: Callable[[PretrainConfig], int], usable: int, replicas: int
) -> str:
    """What makes the run fit into `usable` bytes, the least intrusive first."""
    together = config
    fitting = []
    for candidates in _remedies(config, replicas).values():
        for option, changed in candidates:
            if (size := total(changed)) <= usable:
                fitting.append(f"{option} ({gigabytes(size)})")
                break
    if fitting:
        return "one of: " + ", ".join(fitting)
    options = []
    for name in ("remat", "moments", "accumulate"):
        candidates = _remedies(together, replicas)[name]
        if not candidates:
            continue
        fit = [pair for pair in candidates if total(pair[1]) <= usable]
        option, together = fit[0] if fit else candidates[-1]
        options.append(option)
        if fit:
            return f"together: {' '.join(options)} ({gigabytes(total(together))})"
    return (
        f"nothing here is enough ({' '.join(options)} still needs {gigabytes(total(together))}): "
        "choose a smaller model.variant, fewer pixels or a device with more memory"
    )


def _remedies(config: PretrainConfig, replicas: int) -> dict[str, list[tuple[str, PretrainConfig]]]:
    """Changes that save memory, by kind, in rising strength."""
    remat = replace(config, model=replace(config.model, remat=True))
    bfloat16 = replace(config, optim=replace(config.optim, moment_dtype="bfloat16"))
    per_replica = config.batch_size // replicas
    least = 2 if config.data.mixes_images else 1
    counts = [
        count
        for count in range(config.accumulate + 1, per_replica // least + 1)
        if per_replica % count == 0 and per_replica // count % least == 0
    ]
    is_vit = not config.model.variant.startswith(("BiT", "AxialResNet", "BoTNet"))
    smaller = [
        config.batch_size // 2**power
        for power in range(1, 20)
        if config.batch_size % (2**power * replicas * config.accumulate * least) == 0
    ]
    return {
        "accumulate": [
            (f"--accumulate {count}", replace(config, accumulate=count)) for count in counts
        ],
        "remat": [("--model.remat true", remat)] if is_vit and not config.model.remat else [],
        "moments": (
            [("--optim.moment_dtype bfloat16", bfloat16)]
            if config.optim.moment_dtype == "float32"
            and config.optim.optimizer in WITH_MOMENT_DTYPE
            else []
        ),
        "batch": [
            (f"--batch_size {size} (other learning rate)", replace(config, batch_size=size))
            for size in smaller
        ],
    }


def _parameters(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_variables)
