"""tf.distribute strategies, compute type and XLA, chosen from what the machine has."""

from __future__ import annotations

import signal

import tensorflow as tf

from groundwork.errors import UserError, one_line
from pipeline.devices.cluster import Cluster, cluster_of, unknown_addresses
from pipeline.devices.device_options import DeviceOptions
from pipeline.devices.tpu import local_tpu_devices, tpu_strategy

BFLOAT16_COMPUTE_CAPABILITY = (8, 0)  # NVIDIA Ampere and later


def make_strategy(options: DeviceOptions) -> tf.distribute.Strategy:
    """Start the strategy that `options` name or, by `auto`, what the machine has.

    Raises:
        UserError: the machine lacks what the strategy needs.
    """
    cluster = cluster_of(options)
    several = cluster is not None and len(cluster.workers) > 1
    if options.strategy == "multi_worker" or (options.strategy == "auto" and several):
        assert cluster is not None  # check_run_config
        return _multi_worker_strategy(cluster)
    return one_process_strategy(
        options.strategy, options.tpu, options.tpu_zone, options.tpu_project
    )


def one_process_strategy(
    name: str, tpu: str = "local", tpu_zone: str | None = None, tpu_project: str | None = None
) -> tf.distribute.Strategy:
    """Start `default`, `mirrored`, `tpu` or, by `auto`, the one for what this machine has.

    Raises:
        UserError: the machine lacks what the strategy needs.
    """
    if name == "auto":
        name = _detect()
    if name == "tpu":
        return tpu_strategy(tpu, tpu_zone, tpu_project)
    return mirrored_strategy() if name == "mirrored" else tf.distribute.get_strategy()


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


def compute_policy(precision: str, strategy: tf.distribute.Strategy) -> str:
    """Keras dtype policy for the option `precision`; raises as `policy_on`."""
    return policy_on(device_type(strategy), precision)


def policy_on(device: str, precision: str) -> str:
    """Keras dtype policy for the option `precision` on TPU, GPU or CPU, as `build_model` takes it.

    Raises:
        UserError: the device does not have it.
    """
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(device) else "float32"
    if precision == "float16" and device == "TPU":
        raise UserError("precision=float16: TPUs compute in bfloat16: choose that, or auto")
    return precision if precision in ("float32", "bfloat16_products") else f"mixed_{precision}"


def use_xla(jit_compile: str, strategy: tf.distribute.Strategy) -> bool:
    """Whether to compile the step with XLA; of several replicas, what is before and after the sum.

    On a TPU everything is compiled in any case.
    """
    if jit_compile == "auto":
        return device_type(strategy) == "GPU"
    return jit_compile == "true"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what only one may write: checkpoints, logs, exports."""
    return worker_index(strategy) == 0


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Place of this process among the workers; 0 where it is alone."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0
    return int(strategy.cluster_resolver.task_id)


def num_hosts(strategy: tf.distribute.Strategy) -> int:
    """Processes that read the input of `strategy`, each for replicas of its own."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return int(strategy.extended.num_hosts)
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return len(strategy.cluster_resolver.cluster_spec().as_dict()["worker"])
    return 1


def communication_options() -> tf.distribute.experimental.CommunicationOptions:
    """How workers sum gradients: by NCCL where they have GPUs, which TensorFlow takes on this word
    alone; otherwise by its ring over gRPC."""
    implementations = tf.distribute.experimental.CommunicationImplementation
    has_gpus = bool(tf.config.list_physical_devices("GPU"))
    return tf.distribute.experimental.CommunicationOptions(
        implementation=implementations.NCCL if has_gpus else implementations.RING
    )


def _detect() -> str:
    if local_tpu_devices():
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "default"


def _multi_worker_strategy(cluster: Cluster) -> tf.distribute.Strategy:
    print(f"cluster   {cluster}; waiting for all to start", flush=True)
    if unknown := unknown_addresses(cluster):  # no error: a machine may get its name as it starts
        print(f"warning   no address is known yet for {', '.join(unknown)}", flush=True)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    # Python would heed Ctrl-C only when TensorFlow's wait is over, which may take an hour.
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, communication_options())
    except tf.errors.OpError as error:
        raise UserError(
            f"--strategy multi_worker: {cluster} did not start "
            f"({one_line(error)}): check that the addresses are free and can be "
            f"reached from every worker, and that each has an index of its own"
        ) from error
    finally:
        signal.signal(signal.SIGINT, previous)


def _has_bfloat16(device: str) -> bool:
    if device == "GPU":
        capabilities = [
            tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
            for gpu in tf.config.list_physical_devices("GPU")
        ]
        return bool(min(capabilities) >= BFLOAT16_COMPUTE_CAPABILITY)
    return device == "TPU"
