"""What the machine's accelerators can do at best: the denominator of MFU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

GPU_TFLOPS = {
    # NVIDIA's data sheets: dense bfloat16 (V100, T4: float16), the longest name that fits counts.
    "Tesla V100": 125.0,
    "Tesla T4": 65.0,
    "A10": 125.0,
    "A30": 165.0,
    "A100": 312.0,
    "A800": 312.0,
    "L4": 121.0,
    "L40": 181.0,
    "L40S": 362.0,
    "H100": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H200": 989.0,
    "GH200": 989.0,
    "B200": 2250.0,
}
TPU_CHIP_TFLOPS = {
    # Google Cloud's "TPU architecture" pages: bfloat16 for each chip.
    "v2": 45.0,
    "v3": 123.0,
    "v4": 275.0,
    "v5litepod": 197.0,
    "v5p": 459.0,
    "v6e": 918.0,
}
COUNTED_IN_CORES = ("v2", "v3", "v4", "v5p")  # v4-8 has 4 chips of 2 cores; v6e-8 has 8 chips


@dataclass(frozen=True)
class Accelerators:
    """The devices that a run holds.

    Attributes:
        count: replicas.
        name: such as NVIDIA H200, TPU v4-8 or CPU.
        peak_flops: dense bfloat16 FLOP/s of all of them together; None: not known.
    """

    count: int
    name: str
    peak_flops: float | None


def find_accelerators(
    strategy: tf.distribute.Strategy, peak_tflops: float | None = None
) -> Accelerators:
    """The devices of `strategy`; `peak_tflops`, of one device, wins over the tables."""
    count = strategy.num_replicas_in_sync
    gpus = tf.config.list_physical_devices("GPU")
    if isinstance(strategy, tf.distribute.TPUStrategy):
        slice_type = os.environ.get("TPU_ACCELERATOR_TYPE", "")
        name, peak = f"TPU {slice_type}".strip(), tpu_peak_flops(slice_type)
    elif gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        one = gpu_peak_flops(name)
        peak = one and one * count
    else:
        name, peak = "CPU", None
    if peak_tflops is not None:
        peak = peak_tflops * 1e12 * count
    return Accelerators(count, name, peak)


def gpu_peak_flops(device_name: str) -> float | None:
    """Of one GPU by the name its driver gives, such as NVIDIA A100-SXM4-80GB."""
    words = device_name.replace("-", " ")
    return _longest(GPU_TFLOPS, f" {words} ")


def tpu_peak_flops(slice_type: str) -> float | None:
    """Of a slice by its type, such as v4-8 or v5litepod-16."""
    version, _, size = slice_type.partition("-")
    if version not in TPU_CHIP_TFLOPS or not size.isdigit():
        return None
    chips = int(size) / (2 if version in COUNTED_IN_CORES else 1)
    return TPU_CHIP_TFLOPS[version] * 1e12 * chips


def _longest(table: Mapping[str, float], words: str) -> float | None:
    fitting = [name for name in table if f" {name} " in words]
    return table[max(fitting, key=len)] * 1e12 if fitting else None
