"""Checks of devices, workers, batch and precision."""

from __future__ import annotations

import socket

from groundwork.errors import UserError
from pipeline.data.batches.batch_options import BatchOptions
from pipeline.data.batches.distributed_batches import check_divisible
from pipeline.data.data_config import ViewConfig
from pipeline.devices.cluster import Cluster, unknown_addresses
from pipeline.devices.machine import Machine
from pipeline.devices.strategy import policy_on
from pipeline.devices.tpu import local_tpu_devices
from pipeline.process.check import Check

TPU_TILE = 8
"""A TPU pads the batch of a replica to a multiple of this (Cloud TPU performance guide)."""


def check_devices(machine: Machine, tpu: str) -> Check:
    """Tell what the run will be on."""
    if machine.device == "TPU":
        if tpu != "local":
            return Check("devices", "not checked", f"TPU {tpu!r} is connected to by the run")
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


def check_batch(batch: BatchOptions, view: ViewConfig, replicas: int, device: str) -> Check:
    """Whether the batch can be divided, and what each replica then gets, at static shapes."""
    try:
        check_divisible(batch, replicas, mixes_images=view.mixes_images)
    except UserError as error:
        return Check("batch", "error", str(error))
    microbatch = batch.batch_size // replicas // batch.accumulate
    height, width = view.height_width
    found = (
        f"{batch.batch_size} images = {replicas} replica{'s' * (replicas > 1)} × "
        f"{batch.accumulate} microbatch{'es' * (batch.accumulate > 1)} of "
        f"[{microbatch}, {height}, {width}, 3], always"
    )
    if device == "TPU" and microbatch % TPU_TILE:
        multiple = replicas * batch.accumulate * TPU_TILE
        return Check(
            "batch",
            "warning",
            f"{found}; a TPU pads {microbatch} to a multiple of {TPU_TILE}",
            f"choose a batch_size that {multiple} divides",
        )
    return Check("batch", "ok", found)


def check_precision(precision: str, device: str) -> Check:
    """Whether the device computes in the chosen type."""
    try:
        policy = policy_on(device, precision)
    except UserError as error:
        return Check("precision", "error", str(error))
    if device == "TPU" and policy == "float32":
        return Check(
            "precision", "warning", "float32 is slow on a TPU", "--precision bfloat16, or auto"
        )
    return Check("precision", "ok", policy.replace("mixed_", "") + ", weights in float32")
