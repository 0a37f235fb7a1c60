"""The arithmetic of bounds, and the one line of a refusal."""

from __future__ import annotations

import pytest

from pipeline.readiness.compilers.bounds import bounds, chip_memory, device_hours
from pipeline.readiness.compilers.compile_step import Compiled
from pipeline.readiness.compilers.program import Program
from pipeline.readiness.compilers.refusal import is_about_memory, layer_name, refusal
from pipeline.readiness.compilers.targets import find_target
from pipeline.readiness.compilers.traffic import Traffic

PARTS = {"weights": 100, "optimizer": 200, "average": 0, "state": 8, "batch": 92}


def program(**fields) -> Program:
    known = {"hlo": b"", "replicas": 4, "steps": 1, "accumulate": 1, "images": 400}
    return Program(
        **{**known, "model_flops": 10**9, "part_bytes": PARTS, "gradient_bytes": 100, **fields}
    )


def compiled(flops=0.0, memory=0, summed=0) -> Compiled:
    answer = {
        "argument_bytes": 500,
        "output_bytes": 310,
        "alias_bytes": 300,
        "temporary_bytes": 1000,
        "code_bytes": 50,
        "flops": flops,
        "compile_seconds": 1.0,
    }
    return Compiled(answer, Traffic(2 * memory, memory, 1, summed))


@pytest.mark.parametrize(
    ("figures", "limit", "milliseconds"),
    [
        ({"flops": 197e12 * 0.004}, "arithmetic", 4.0),
        ({"memory": int(819e9 * 0.003)}, "memory", 3.0),
        # Three quarters of the sum leave each of four chips twice.
        ({"summed": int(200e9 * 0.002)}, "interconnect", 3.0),
    ],
)
def test_the_slowest_part_sets_the_bound(figures, limit, milliseconds):
    found = bounds(program(), compiled(**figures), find_target("v5e-4"), "mixed_bfloat16")
    assert found.limit == limit
    assert found.step_seconds == pytest.approx(milliseconds / 1000)
    assert found.images_per_second == pytest.approx(400 / found.step_seconds)


def test_mfu_is_the_models_own_work_in_the_peaks():
    found = bounds(program(), compiled(flops=197e12), find_target("v5e-4"), "mixed_bfloat16")
    assert found.mfu == pytest.approx(400 * 1e9 / (4 * 197e12))


def test_a_loop_of_steps_and_microbatches_counts_for_one_step():
    two = compiled(flops=1e12, memory=8_190_000_000)
    found = bounds(program(steps=2, accumulate=3), two, find_target("v5e-4"), "mixed_bfloat16")
    assert found.flops == 3e12
    assert found.seconds["memory"] == pytest.approx(0.005)


def test_float32_has_a_peak_of_its_own_on_gpus():
    work = compiled(flops=1e12)
    one = program(replicas=1)
    half, full = (
        bounds(one, work, find_target("a100"), policy).step_seconds
        for policy in ("mixed_float16", "float32")
    )
    assert full == pytest.approx(2 * half)
    assert bounds(one, work, find_target("a100"), "float32").seconds["interconnect"] == 0


def test_memory_is_shared_out_without_a_rest():
    memory = chip_memory(program(), compiled(), find_target("v5e-4"))
    assert memory.parts["tiles"] == 100
    assert memory.parts["results"] == 10
    assert memory.total == 500 + 10 + 1000 + 50
    assert memory.left == memory.available - memory.total


def test_hours_are_of_all_chips():
    assert device_hours(0.5, 7200, 16) == 16


def test_a_layer_is_named_as_the_model_names_it():
    name = "while/body/StatefulPartitionedCall/StatefulPartitionedCall/vit_1/block_0_1/mlp_1/Erf"
    assert layer_name(name) == "vit/block_0/mlp/Erf"


def test_a_refusal_for_memory_names_the_largest_product():
    error = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (34.18G) exceeds available HBM (15.75G). HLO module: step.\n"
        "See https://openxla.org/xla/errors/error_1000 for more details."
    )
    text = """
  %a = bf16[1024,1024]{1,0} dot(%x, %y), metadata={op_name="vit/block_0/mlp/MatMul"}
  %b = f32[1024,1024,1024]{2,1,0} dot(%x, %y), metadata={op_name="vit/block_1/mlp/MatMul"}
"""
    assert is_about_memory(error)
    assert refusal(error, text) == (
        "temporaries need 34.18 GiB, and a chip has 15.75 GiB; the largest product, 4 GiB, is "
        "that of vit/block_1/mlp/MatMul"
    )


def test_another_refusal_names_the_operations_layer():
    error = 'UNIMPLEMENTED: no such thing:\n %fft = metadata={op_name="vit_1/stem_1/FFT"}\nSee http'
    assert not is_about_memory(error)
    assert refusal(error, "").startswith("vit/stem/FFT: UNIMPLEMENTED: no such thing: %fft")
