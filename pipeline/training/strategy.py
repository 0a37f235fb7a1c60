"""tf.distribute strategies, compute type and XLA, chosen from what the machine has."""

from __future__ import annotations

import json
import os
from pathlib import Path

import tensorflow as tf

from pipeline.config import PretrainConfig
from pipeline.errors import UserError

BFLOAT16_COMPUTE_CAPABILITY = (8, 0)  # NVIDIA Ampere and later


def make_strategy(name: str, tpu: str = "local") -> tf.distribute.Strategy:
    """Start the strategy called `name`; the choices are those of `PretrainConfig.strategy`.

    Raises:
        UserError: the machine lacks what the strategy needs.
    """
    name = _detect() if name == "auto" else name
    if name == "tpu":
        return _tpu_strategy(tpu)
    if name == "multi_worker":
        return _multi_worker_strategy()
    if name == "mirrored":
        return mirrored_strategy()
    return tf.distribute.get_strategy()


def mirrored_strategy(num_cpus: int | None = None) -> tf.distribute.MirroredStrategy:
    """Mirrored over the GPUs; without GPU, or with `num_cpus`, over that many logical CPUs."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus and num_cpus is None:
        return tf.distribute.MirroredStrategy([device.name for device in gpus])
    cpus = [device.name for device in tf.config.list_logical_devices("CPU")][:num_cpus]
    # Logical CPUs share their memory, and collectives would tie a process to one set of devices.
    return tf.distribute.MirroredStrategy(cpus, tf.distribute.ReductionToOneDevice())


def device_type(strategy: tf.distribute.Strategy) -> str:
    """TPU, GPU or CPU: what `strategy` trains on."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "TPU"
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"


def compute_policy(config: PretrainConfig, strategy: tf.distribute.Strategy) -> str:
    """Keras dtype policy for `config.precision`."""
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(device_type(strategy)) else "float32"
    return {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]


def use_xla(config: PretrainConfig, strategy: tf.distribute.Strategy) -> bool:
    """Whether to compile the forward and backward pass of a replica with XLA.

    On a TPU everything is compiled in any case.
    """
    if config.jit_compile == "auto":
        return device_type(strategy) == "GPU"
    return config.jit_compile == "true"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what only one may write: checkpoints, logs, exports."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    return resolver.task_type in (None, "chief") or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().jobs
    )


def _detect() -> str:
    if "TF_CONFIG" in os.environ:
        return "multi_worker"
    if _tpu_devices():
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "default"


def _tpu_devices() -> list[str]:
    """Device files of a TPU VM."""
    return sorted(str(path) for path in Path("/dev").glob("accel*"))


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    if tpu == "local" and not _tpu_devices():
        raise UserError(
            "--strategy tpu: this machine has no TPU (no /dev/accel*): run on a TPU VM with "
            "`pip install tensorflow-tpu`, or name a remote one with --tpu NAME"
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(
            f"--strategy tpu: TPU {tpu!r} did not start ({' '.join(str(error).split())[:300]}): "
            f"check its name, and that this TensorFlow ({tf.__version__}) is tensorflow-tpu of the "
            f"TPU's version"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _multi_worker_strategy() -> tf.distribute.Strategy:
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise UserError(
            "--strategy multi_worker: the environment variable TF_CONFIG is not set: give every "
            'worker {"cluster": {"worker": ["host0:port", …]}, "task": {"type": "worker", "index": '
            "0}} with its own index"
        )
    try:
        tf_config = json.loads(text)
        tf_config["cluster"]["worker"], tf_config["task"]["index"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--strategy multi_worker: TF_CONFIG is not what TensorFlow expects ({error!r}): it "
            'needs "cluster" with a "worker" list and "task" with "type" and "index"'
        ) from error
    return tf.distribute.MultiWorkerMirroredStrategy()


def _has_bfloat16(device: str) -> bool:
    if device == "GPU":
        capabilities = [
            tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
            for gpu in tf.config.list_physical_devices("GPU")
        ]
        return min(capabilities) >= BFLOAT16_COMPUTE_CAPABILITY
    return device == "TPU"
