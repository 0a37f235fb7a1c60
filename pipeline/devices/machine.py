"""What this machine has to train on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from pipeline.devices.cluster import Cluster, cluster_of
from pipeline.devices.device_options import DeviceOptions
from pipeline.devices.tpu import local_tpu_devices

TPU_GIBIBYTES = {
    # Google Cloud's "TPU architecture" pages: memory of what TensorFlow shows as one device, a core
    # up to v3 and a chip from v4 on.
    "v2": 8,
    "v3": 16,
    "v4": 32,
    "v5litepod": 16,
    "v5p": 95,
    "v6e": 32,
}


@dataclass(frozen=True)
class Machine:
    """Devices of the strategy that a run would choose here.

    Attributes:
        device: TPU, GPU or CPU.
        replicas: devices of all workers, each taken to have as many as this one; None: not known
            without the TPU.
        device_bytes: memory of one; None: not known.
        cluster: the workers; None: this process alone.
    """

    device: str
    replicas: int | None
    device_bytes: int | None
    cluster: Cluster | None


def look_at_machine(options: DeviceOptions) -> Machine:
    """Find the devices, without starting a strategy: other workers need not be there yet.

    Raises:
        UserError: workers that cannot be.
    """
    cluster = cluster_of(options)
    workers = len(cluster.workers) if cluster else 1
    if options.strategy == "tpu" or (
        options.strategy == "auto" and workers == 1 and local_tpu_devices()
    ):
        return Machine("TPU", None, tpu_memory(os.environ), cluster)
    gpus = tf.config.list_physical_devices("GPU")
    several = cluster is not None or options.strategy in ("auto", "mirrored")
    if gpus:
        local = len(gpus) if several else 1
        return Machine("GPU", local * workers, gpu_memory(), cluster)
    local = len(tf.config.list_logical_devices("CPU")) if options.strategy == "mirrored" else 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine("CPU", local * workers, memory // local, cluster)


def tpu_memory(environment: Mapping[str, str]) -> int | None:
    """Bytes of one TPU device, from the type that its VM names; None: it names none."""
    kind = environment.get("TPU_ACCELERATOR_TYPE", "").partition("-")[0]
    size = TPU_GIBIBYTES.get(kind)
    return None if size is None else size * 2**30


def gpu_memory() -> int | None:
    """Bytes of the smallest NVIDIA GPU, as its driver tells; None: it does not."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        return min(int(line) for line in answer.stdout.splitlines()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
