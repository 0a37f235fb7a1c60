"""Measure speed on this machine: `python -m pipeline.benchmark --help`.

`both` measures a recipe's input alone, its train step alone on synthetic data, and the two
together, and names the bottleneck and what helps against it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from groundwork import command_line, storage
from groundwork.errors import UserError
from pipeline.process.tensorflow_startup import import_tensorflow
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import DEFAULT_RECIPE
from pipeline.speed.benchmark_config import (
    ServingBenchmarkConfig,
    TrainingBenchmarkConfig,
    check_serving_benchmark,
    check_training_benchmark,
)

if TYPE_CHECKING:
    from pipeline.speed.serving_speed import ServingReport
    from pipeline.speed.step_graph import StepGraph
    from pipeline.speed.training_speed import TrainingReport

PROG = "python -m pipeline.benchmark"
USAGE = f"""usage: {PROG} input|step|both|graph|serve [options]

  input   read, decode and augment training images, without training
  step    train on one synthetic batch again and again
  both    each alone, then together: names the bottleneck and what helps
  graph   operations, bytes to the device and collectives of a step, read without running it
  serve   latency and throughput of an exported model

Each takes --help. All but serve are of the recipe that --config names (without it,
{DEFAULT_RECIPE}); serve takes --model."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    what, *arguments = list(sys.argv[1:] if argv is None else argv) or [""]
    if what in ("--help", "-h"):
        print(USAGE)
        return 0
    if what not in ("input", "step", "both", "graph", "serve"):
        raise UserError(
            f"say what to measure first: input, step, both, graph or serve, not {what!r}"
        )
    prog = f"{PROG} {what}"
    report: TrainingReport | ServingReport
    if what == "serve":
        serving = command_line.parse(ServingBenchmarkConfig, arguments, prog=prog)
        check_serving_benchmark(serving)
        import_tensorflow()
        from pipeline.speed.serving_speed import measure_serving

        report = measure_serving(serving)
        print(_serving_table(report))
        _write(report.as_dict(), serving.json)
        return 0
    config = command_line.parse(
        TrainingBenchmarkConfig, arguments, prog=prog, default_config=DEFAULT_RECIPE
    )
    check_training_benchmark(config, what)
    check_run_config(config)
    import_tensorflow()
    if what == "graph":
        from pipeline.speed.step_graph import SEVERAL, read_step_graph

        several, one = (read_step_graph(config, replicas) for replicas in (SEVERAL, 1))
        print(_graph_table(one, several))
        _write({"one": one.as_dict(), "several": several.as_dict()}, config.json)
        return 0
    from pipeline.speed.training_speed import measure_training

    report = measure_training(config, what)
    print(_training_table(report, config))
    _write(report.as_dict(), config.json)
    return 0


def _graph_table(one: StepGraph, several: StepGraph) -> str:
    sizes = ", ".join(f"{size / 1e6:,.3g} MB" for size in several.collective_bytes)
    rows = (
        ("operations outside XLA", f"{one.operations:,}", f"{several.operations:,}"),
        ("functions compiled by XLA", f"{one.compiled_functions}", f"{several.compiled_functions}"),
        ("host to device", _megabytes(one), _megabytes(several)),
        ("collectives", "0", f"{len(several.collective_bytes)}: {sizes}"),
    )
    head = f"{'a step of a replica':26}{'alone':>12}  of two"
    return "\n".join([head, *(f"{name:26}{alone:>12}  {rest}" for name, alone, rest in rows)])


def _megabytes(graph: StepGraph) -> str:
    return f"{graph.host_to_device_bytes / 1e6:,.3g} MB"


def _training_table(report: TrainingReport, config: TrainingBenchmarkConfig) -> str:
    machine = report.machine
    lines = [
        f"{config.model.variant}, batch {config.batch_size}, {machine.precision}"
        f"{', XLA' * machine.xla}, {machine.replicas} × {machine.device}, "
        f"{machine.cores} CPU cores",
        "",
        f"{'':12}{'images/s':>10}{'per core':>10}{'ms a batch':>12}{'first batch':>13}",
    ]
    for name, speed in (
        ("input", report.input),
        ("step", report.step),
        ("together", report.both),
    ):
        if speed is None:
            continue
        per_core = f"{speed.images_per_second / machine.cores:,.0f}" if name == "input" else ""
        lines.append(
            f"{name:12}{speed.images_per_second:>10,.0f}{per_core:>10}"
            f"{speed.batch_milliseconds:>12,.1f}{speed.first_batch_seconds:>11,.1f} s"
        )
    if report.step and report.training_gflops_per_image:
        rate = report.step.images_per_second * report.training_gflops_per_image
        lines += [
            "",
            f"step: {rate:,.1f} GFLOP/s ({report.training_gflops_per_image:.3g} an image)",
        ]
    if report.bottleneck:
        lines += ["", f"bottleneck: {report.bottleneck.part} ({report.bottleneck.reason})"]
        lines += [f"  - {remedy}" for remedy in report.bottleneck.remedies]
    return "\n".join(lines)


def _serving_table(report: ServingReport) -> str:
    lines = [
        f"{report.model}, signature {report.signature}, {report.cores} CPU cores",
        "",
        f"{'batch':>6}{'p50':>12}{'p95':>12}{'images/s':>10}{'requests':>10}",
    ]
    for row in report.latencies:
        lines.append(
            f"{row.batch:>6}{row.p50_milliseconds:>9,.1f} ms{row.p95_milliseconds:>9,.1f} ms"
            f"{row.images_per_second:>10,.1f}{row.requests:>10}"
        )
    return "\n".join(lines)


def _write(report: dict[str, Any], path: str | None) -> None:
    if path is None:
        return
    try:
        storage.write_text(path, json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"json: cannot write {path}: {error.strerror}") from error


if __name__ == "__main__":
    command_line.run_main(main)
