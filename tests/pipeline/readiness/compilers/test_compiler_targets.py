"""Names of targets, and that every slice in the table is one that the compilers know."""

from __future__ import annotations

import pytest

from groundwork.errors import UserError
from pipeline.readiness.compilers.targets import find_target, target_names


@pytest.mark.parametrize(
    ("name", "chips", "topology"),
    [
        ("v5e", 1, "v5e:2x2"),
        ("v5e-16", 16, "v5e:4x4"),
        ("v5litepod-8", 8, "v5e:2x4"),
        ("V4-64", 64, "v4:4x4x4"),
        ("v5p-8", 8, "v5p:2x2x2"),
        ("v6e-256", 256, "v6e:16x16"),
        ("h100", 1, "1x1x1"),
        ("a100-8", 8, "1x1x8"),
    ],
)
def test_a_name_gives_chips_and_their_topology(name, chips, topology):
    target = find_target(name)
    assert (target.chips, target.topology) == (chips, topology)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("v9", "choose one of v3, v4, v5e"),
        ("v5e-3", "v5e-CHIPS with 1, 4, 8"),
        ("h100-16", "h100-CHIPS with 1, 2, 3"),
        ("v5e-", "no such slice"),
        ("v5e-many", "no such slice"),
    ],
)
def test_what_is_no_target_is_told_in_one_line(name, told):
    with pytest.raises(UserError, match=told) as raised:
        find_target(name)
    assert "\n" not in str(raised.value)


def test_every_chip_has_its_data_sheet():
    for name in target_names():
        target = find_target(name)
        assert target.source and target.memory_bytes > 10e9
        # Half precision is never slower; each chip computes 100 FLOPs and more for a byte.
        assert target.bfloat16_flops >= target.float32_flops
        assert target.bfloat16_flops > 100 * target.memory_bandwidth
        assert target.interconnect_bandwidth < target.memory_bandwidth


def test_only_turing_lacks_bfloat16():
    assert [name for name in target_names() if not find_target(name).has_bfloat16] == ["t4"]


def test_a_gpu_is_described_to_its_compiler():
    options = find_target("l4-2").topology_options()
    assert options["topology"] == "1x1x2"
    for line in ("major: 8 minor: 9", "core_count: 58", 'platform_name: "CUDA"'):
        assert line in options["target_config"]
