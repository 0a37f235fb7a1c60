"""Latency and throughput of an export's SavedModel on encoded images."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from groundwork.errors import UserError
from pipeline.serving.loading import NOT_AN_IMAGE, open_export
from pipeline.speed.benchmark_config import ServingBenchmarkConfig
from pipeline.speed.photo_like import photo_like

GENERATED_IMAGES = 32
WARM_UP_REQUESTS = 3


@dataclass(frozen=True)
class Latency:
    """Requests of one batch size, one after another."""

    batch: int
    requests: int
    p50_milliseconds: float
    p95_milliseconds: float
    images_per_second: float


@dataclass(frozen=True)
class ServingReport:
    """What was measured."""

    model: str
    signature: str
    cores: int
    latencies: list[Latency]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_serving(config: ServingBenchmarkConfig) -> ServingReport:
    """Send requests to the SavedModel in this process: `serve`, or `features` without a head.

    Raises:
        UserError: no export, or an image that cannot be read.
    """
    files = _files(config.images)
    signatures = open_export(config.model).saved_model.signatures
    name = "serve" if "serve" in signatures else "features"
    latencies = []
    for batch in config.batches:
        latencies.append(_latency(signatures[name], files, batch, config.seconds))
    return ServingReport(config.model, name, len(os.sched_getaffinity(0)), latencies)


def _latency(signature: Any, files: list[bytes], batch: int, seconds: float) -> Latency:
    source = itertools.cycle(files)

    def request() -> float:
        image_bytes = tf.constant(list(itertools.islice(source, batch)))
        started = time.perf_counter()
        answers = {k: v.numpy() for k, v in signature(image_bytes=image_bytes).items()}
        seconds = time.perf_counter() - started
        if not answers["valid"].all():
            raise UserError(f"images: one of the files is {NOT_AN_IMAGE}")
        return seconds

    for _ in range(WARM_UP_REQUESTS):
        request()
    times: list[float] = []
    while sum(times) < seconds:
        times.append(request())
    p50, p95 = (1000 * float(np.percentile(times, share)) for share in (50, 95))
    return Latency(batch, len(times), p50, p95, batch * len(times) / sum(times))


def _files(paths: list[str]) -> list[bytes]:
    if not paths:
        generator = np.random.default_rng(0)
        return [photo_like(generator) for _ in range(GENERATED_IMAGES)]
    try:
        return [Path(path).read_bytes() for path in paths]
    except OSError as error:
        raise UserError(f"images: cannot read {error.filename}: {error.strerror}") from error
