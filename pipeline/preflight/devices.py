"""Checks of devices, workers, batch and precision."""

from __future__ import annotations

import socket

from pipeline.config import PretrainConfig
from groundwork.errors import UserError
from pipeline.preflight.check import Check
from pipeline.preflight.machine import Machine
from pipeline.training.cluster import Cluster, unknown_addresses
from pipeline.training.inputs import check_divisible
from pipeline.training.strategy import policy_on
from pipeline.training.tpu import local_tpu_devices

TPU_TILE = 8
"""A TPU pads the batch of a replica to a multiple of this (Cloud TPU performance guide)."""


def check_devices(machine: Machine, config: PretrainConfig) -> Check:
    """Tell what the run will be on."""
    if machine.device == "TPU":
        if config.tpu != "local":
            return Check("devices", "not checked", f"TPU {config.tpu!r} is connected to by the run")
        files = local_tpu_devices()
        if not files:
            return Check(
                "devices",
                "error",
                "this machine has no TPU (/dev/accel*, or /dev/vfio/* with libtpu installed)",
                "run on a TPU VM, or name a remote one with --tpu NAME",
            )
        return Check("devices", "ok", f"{len(files)} TPU device files, such as {files[0]}")
    workers = f" on {len(machine.cluster.workers)} workers" if machine.cluster else ""
    return Check("devices", "ok", f"{machine.replicas} {machine.device}{workers}")


def check_workers(cluster: Cluster) -> Check:
    """Whether the names of all workers are known here, and this one's port is free."""
    unknown = unknown_addresses(cluster)
    if unknown:
        return Check(
            "workers",
            "error",
            f"{cluster}: no address is known for {', '.join(unknown)}",
            "use names that every worker can resolve, or IP addresses",
        )
    port = int(cluster.workers[cluster.index].rpartition(":")[2])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            return Check(
                "workers", "error", f"{cluster}: port {port}: {error}", "choose another port"
            )
    return Check("workers", "ok", str(cluster))


def check_batch(config: PretrainConfig, replicas: int, device: str) -> Check:
    """Whether the batch can be divided, and what each replica then gets, at static shapes."""
    try:
        check_divisible(config, replicas)
    except UserError as error:
        return Check("batch", "error", str(error))
    microbatch = config.batch_size // replicas // config.accumulate
    height, width = config.data.height_width
    found = (
        f"{config.batch_size} images = {replicas} replica{'s' * (replicas > 1)} × "
        f"{config.accumulate} microbatch{'es' * (config.accumulate > 1)} of "
        f"[{microbatch}, {height}, {width}, 3], always"
    )
    if device == "TPU" and microbatch % TPU_TILE:
        multiple = replicas * config.accumulate * TPU_TILE
        return Check(
            "batch",
            "warning",
            f"{found}; a TPU pads {microbatch} to a multiple of {TPU_TILE}",
            f"choose a batch_size that {multiple} divides",
        )
    return Check("batch", "ok", found)


def check_precision(config: PretrainConfig, device: str) -> Check:
    """Whether the device computes in the chosen type."""
    try:
        policy = policy_on(device, config)
    except UserError as error:
        return Check("precision", "error", str(error))
    if device == "TPU" and policy == "float32":
        return Check(
            "precision", "warning", "float32 is slow on a TPU", "--precision bfloat16, or auto"
        )
    return Check("precision", "ok", policy.replace("mixed_", "") + ", weights in float32")
