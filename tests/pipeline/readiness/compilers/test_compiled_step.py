"""A tiny run's whole step, compiled by the compilers of a TPU and of a GPU."""

from __future__ import annotations

import math
import os
import re
import resource
import sys
from dataclasses import replace

import pytest

from groundwork import command_line
from groundwork.errors import JobError, UserError
from pipeline import preflight as command
from pipeline.readiness.compilers import compile_child, compile_step
from pipeline.readiness.compilers.compile_step import Refused, TooLarge, compile_program
from pipeline.readiness.compilers.lower import lower_step
from pipeline.readiness.compilers.report import accumulation_that_fits, policy_of, report_step
from pipeline.readiness.compilers.targets import find_target
from pipeline.training.model.build_model import build_model
from pipeline.training.state.train_state import TrainState


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """One cache for the module: what several tests look at is compiled once."""
    previous = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if previous is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = previous


@pytest.fixture
def config(config, change):
    """One block is enough, and compiles in a few seconds."""
    return change(config, model__num_layers=1)


def target_of(name):
    target = find_target(name)
    try:
        compile_step.check_installed(target)
    except UserError as error:
        pytest.skip(str(error))
    return target


def size(variables):
    return sum(math.prod(v.shape) * v.dtype.size for v in variables)


def test_arguments_are_weights_and_optimizer_to_the_byte(config, change):
    config = change(config, ema_decay=0.9, optim__moment_dtype="bfloat16")
    report = report_step(config, target_of("h100"), num_classes=3)
    model = build_model(config.model, config.data.height_width, 3, seed=0)
    state = TrainState(model, config.optim, seed=0, ema_decay=0.9)
    parts = report.program.part_bytes
    assert parts["weights"] == size(state.variables)
    assert parts["optimizer"] == size(s for table in state.optimizer.slots for s in table.values())
    assert parts["average"] == size(state.ema)
    assert parts["batch"] == 16 * (16 * 16 * 3 * 4 + 8 + 4)
    assert report.memory.parts["tiles"] == 0  # a GPU pads nothing
    assert report.compiled.answer["argument_bytes"] == sum(parts.values())
    # Updated variables take the place of the old ones: what is new is metrics, and pointers.
    assert report.memory.parts["results"] < size(state.variables) / 10


def test_a_tpu_compiles_it_and_what_tiles_pad_is_told(config):
    report = report_step(config, target_of("v5e"), num_classes=3, total_steps=1000)
    answer = report.compiled.answer
    assert report.memory.parts["tiles"] > 0 and report.memory.left > 0
    # The compiler counts a prefetch into vector memory when it starts and again when it is done:
    # five times its array, of which only a read and a write move. All else is counted alike.
    traffic = report.compiled.traffic
    assert traffic.bytes_accessed + 1.5 * traffic.prefetch_bytes == pytest.approx(
        answer["compiler_bytes_accessed"], rel=0.02
    )
    assert report.bounds.flops == pytest.approx(answer["compiler_flops"], rel=0.25)
    assert report.policy == "mixed_bfloat16" and "1000 steps take" in str(report)
    assert not report.compiled.from_cache
    again = report_step(config, target_of("v5e"), num_classes=3, total_steps=1000)
    assert again.compiled.from_cache
    assert again.compiled.answer == answer


@pytest.mark.parametrize("name", ["h100-2", "v5e-4"])
def test_replicas_sum_the_gradient(config, name):
    report = report_step(config, target_of(name), num_classes=3)
    traffic = report.compiled.traffic
    assert traffic.all_reduces >= 1
    # The gradient in float32, the loss, and hits of two kinds.
    assert traffic.all_reduce_bytes == report.program.gradient_bytes + 4 + 2 * 4
    assert report.bounds.seconds["interconnect"] > 0
    alone = report_step(config, target_of(name.partition("-")[0]), num_classes=3)
    assert alone.compiled.traffic.all_reduces == 0


def test_steps_and_microbatches_are_loops_of_one_program(config, change):
    target = target_of("h100-2")
    once = report_step(change(config, batch_size=8), target, num_classes=3)
    loop = report_step(
        change(config, batch_size=16, accumulate=2, steps_per_loop=3), target, num_classes=3
    )
    assert loop.program.loop_counts == (3, 2)
    # A sum for each step, not for each microbatch.
    assert loop.compiled.traffic.all_reduce_bytes == 3 * once.compiled.traffic.all_reduce_bytes
    assert loop.bounds.flops == pytest.approx(2 * once.bounds.flops, rel=0.25)
    assert once.bounds.memory_bytes < loop.bounds.memory_bytes < 4 * once.bounds.memory_bytes


def test_what_does_not_fit_is_told_with_its_layer(config, change):
    config = change(config, batch_size=2**18)
    with pytest.raises(TooLarge, match="GiB, is that of vit/head/MatMul") as raised:
        report_step(config, target_of("v5e"), num_classes=20_000)
    assert "\n" not in str(raised.value)


def test_microbatches_make_it_fit(config, change):
    """A chip of a memory between what one and what four microbatches take."""
    target = target_of("v5e")
    config = change(config, batch_size=4096)
    whole, quarter = (
        report_step(change(config, accumulate=count), target, num_classes=3).memory.total
        for count in (1, 4)
    )
    small = replace(target, memory_bytes=(whole + quarter) // 2)
    assert accumulation_that_fits(config, small, num_classes=3) in (2, 4)
    assert accumulation_that_fits(config, replace(target, memory_bytes=1000), num_classes=3) is None


def test_another_refusal_is_one_line():
    target = target_of("v5e")
    wrong = b"""module @step { func.func public @main(%a: tensor<4xf32>) -> tensor<4xf32> {
      %0 = stablehlo.custom_call @no_such_call(%a) : (tensor<4xf32>) -> tensor<4xf32>
      return %0 : tensor<4xf32> } }"""
    with pytest.raises(Refused, match="no_such_call") as raised:
        compile_program(wrong, target, replicas=1, stablehlo=True)
    assert "\n" not in str(raised.value) and not isinstance(raised.value, TooLarge)


def test_a_time_limit_and_a_crash_are_one_line(config):
    target = target_of("v5e")
    with pytest.raises(JobError, match="not done after 0 s"):
        compile_program(b"", target, replicas=1, time_limit=0.01)
    with pytest.raises(JobError, match="ended with status 1: ") as raised:
        compile_program(b"no program", target, replicas=1, stablehlo=True)
    assert "\n" not in str(raised.value)


def test_a_missing_compiler_names_the_extra(monkeypatch):
    monkeypatch.setitem(compile_child.VERSIONS, "jaxlib", "0.0.1")
    with pytest.raises(UserError, match=r"jaxlib 0.0.1 is needed.*pip install '.\[aot\]'"):
        compile_step.check_installed(find_target("v5e"))


def test_precision_follows_the_chip(config, change):
    assert policy_of(config, find_target("t4")) == "float32"
    assert policy_of(change(config, precision="float16"), find_target("t4")) == "mixed_float16"
    with pytest.raises(UserError, match="TPUs compute in bfloat16"):
        policy_of(change(config, precision="float16"), find_target("v5e"))


def test_nothing_is_allocated_for_a_large_model(config, change):
    """Weights and moments of these blocks would take 2.4 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large = change(config, model__num_layers=4, model__width=2048, model__mlp_dim=8192)
    program = lower_step(large, num_classes=3, policy="mixed_bfloat16", replicas=1)
    assert program.part_bytes["weights"] + program.part_bytes["optimizer"] > 2.4e9
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 1e9


def test_the_command_prints_the_table(config, capsys):
    target_of("v5e")
    arguments = {
        "compile": "v5e",
        "data.source": config.data.source,
        "data.image_size": "16",
        "workdir": config.workdir,
        "batch_size": "16",
        "model.variant": "Ti/8",
        "model.num_layers": "1",
        "model.width": "16",
        "model.mlp_dim": "32",
        "model.num_heads": "2",
        "steps": "7",
    }
    pairs = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    assert command.main(pairs) == 0
    table = capsys.readouterr().out
    for word in ("memory    fits", "weights", "optimizer", "bound", "MFU", "7 steps take"):
        assert word in table
    with pytest.raises(UserError, match="no such target"):
        command.main(["--compile", "v1"])


def test_recipes_side_by_side(config, tmp_path, capsys):
    """On the hardware that they name: compiled, and without time for it estimated; then in vain."""
    target_of("h100")
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"# Hardware: one H100, or eight.\n{command_line.to_yaml(config)}")
    assert command.main(["--compile", "all", str(tmp_path)]) == 0
    head, line, row = capsys.readouterr().out.splitlines()
    assert len(set(map(len, (re.findall(r"\|", text) for text in (head, line, row))))) == 1
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["hardware"] == "h100" and cells["fits"] == "yes"
    assert cells["compiled"].endswith("MB") and cells["MFU at most"].endswith("%")

    other = [str(recipe), "--model.mlp_dim", "48", "--compile_seconds", "0"]
    assert command.main(["--compile", "all", *other]) == 0
    told = capsys.readouterr()
    assert "own.yaml: estimated alone: --compile h100: the compiler is not done" in told.err
    assert " MB | – | 84.9 GB | yes | – | – | – |" in told.out
