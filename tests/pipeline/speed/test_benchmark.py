"""`python -m pipeline.benchmark`: what it measures, prints and advises."""

from __future__ import annotations

import json

import pytest
from exported_models import export_tiny_vit

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.benchmark import main
from pipeline.data.data_config import DataConfig
from pipeline.recipe.run_config import PretrainConfig
from pipeline.speed.bottleneck import Machine, find_bottleneck


@pytest.fixture
def recipe(config, tmp_path):
    """The tiny run as a YAML file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(command_line.to_yaml(config))
    return str(path)


def test_both_measures_the_parts_and_names_the_bottleneck(recipe, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert main(["both", "--config", recipe, "--seconds", "0.2", "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    numbers = json.loads(report.read_text())
    for part in ("input", "step", "both"):
        speed = numbers[part]
        assert speed["images_per_second"] == pytest.approx(16_000 / speed["batch_milliseconds"])
    assert numbers["bottleneck"]["part"] in printed
    assert numbers["bottleneck"]["remedies"][0] in printed
    assert not (tmp_path / "run").exists()


def test_step_needs_no_dataset_where_the_classes_are_given(recipe, capsys):
    options = ["--data.source", "missing", "--num_classes", "5", "--seconds", "0.1"]
    assert main(["step", "--config", recipe, *options]) == 0
    assert "GFLOP/s" in capsys.readouterr().out
    with pytest.raises(UserError, match="num_classes is for `step` and `graph`"):
        main(["input", "--config", recipe, *options])


def test_graph_counts_what_a_step_asks_of_host_and_network(recipe, tmp_path, capsys):
    """The numbers of a tiny model with 32 weights are held: none of them may grow unnoticed."""
    report = tmp_path / "report.json"
    options = ["--data.source", "missing", "--num_classes", "3", "--json", str(report)]
    graphs = []
    augmented = ["--data.augment_preset", "medium2", "--ema_decay", "0.9"]
    eager = ["--jit_compile", "false", "--sum_precision", "bfloat16"]
    for more in ([], augmented, eager):
        assert main(["graph", "--config", recipe, *options, *more]) == 0
        graphs.append(json.loads(report.read_text()))
    assert "collectives                          0  1: 0.0309 MB" in capsys.readouterr().out
    compiled, averaged, plain = (graph["several"] for graph in graphs)
    alone, averaged_alone, plain_alone = (graph["one"] for graph in graphs)
    for graph in (compiled, averaged):
        assert graph["collective_bytes"] == [30_872]  # 7,715 weights, loss and 2 hits in a bucket
    assert plain["collective_bytes"] == [15_430, 12]
    pixels, rest = 16 * 16 * 3, 8 + 4
    for replicas, graph in ((2, compiled), (1, alone)):
        assert graph["host_to_device_bytes"] == 16 // replicas * (pixels * 4 + rest)
    for replicas, graph in ((2, averaged), (1, averaged_alone)):
        mixing = 16 * 16 * 4 + 4
        assert graph["host_to_device_bytes"] == 16 // replicas * (pixels + rest) + mixing
    assert [graph["compiled_functions"] for graph in (compiled, alone, plain)] == [2, 1, 0]
    # Packing for the sum is all that stands outside, whatever follows it.
    assert compiled["operations"] == averaged["operations"] < 160
    assert alone["operations"] == averaged_alone["operations"] < 10
    assert plain["operations"] > 4 * compiled["operations"]
    assert plain_alone["operations"] > 40 * alone["operations"]


def test_serve_prints_a_row_for_each_batch_size(tmp_path, capsys):
    export_tiny_vit(tmp_path / "export")
    report = tmp_path / "report.json"
    options = ["--model", str(tmp_path / "export"), "--seconds", "0.05", "--json", str(report)]
    assert main(["serve", *options, "--batches", "[1, 3]"]) == 0
    rows = json.loads(report.read_text())["latencies"]
    assert [row["batch"] for row in rows] == [1, 3]
    assert all(0 < row["p50_milliseconds"] <= row["p95_milliseconds"] for row in rows)
    assert "images/s" in capsys.readouterr().out
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(UserError, match="damaged"):
        main(["serve", *options, "--images", json.dumps([str(broken)])])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to measure"),
        (["speed"], "not 'speed'"),
        (["input", "--seconds", "0"], "seconds is 0"),
        (["step", "--num_classes", "0"], "num_classes is 0"),
        (["serve", "--model", "m", "--batches", "[0]"], "batches"),
    ],
)
def test_errors_name_the_culprit(arguments, message):
    with pytest.raises(UserError, match=message):
        main(arguments)


def advise(rates, device="GPU", **changes):
    facts = {"devices": 1, "replicas": 1, "cores": 8, "xla": True, "precision": "mixed_bfloat16"}
    config = PretrainConfig(
        data=DataConfig(source="d", augment_preset=changes.pop("preset", "none")),
        workdir="w",
        accumulate=changes.pop("accumulate", 1),
    )
    return find_bottleneck(*rates, Machine(device, **(facts | changes)), config)


def test_slow_input_is_named_with_the_cores_that_would_do():
    found = advise((800, 2000, 780), preset="medium1")
    assert found.part == "input" and "20 instead of 8" in found.remedies[0]
    assert any("randaugment_layers" in remedy for remedy in found.remedies)


def test_slow_step_is_named_with_what_is_switched_off():
    found = advise((5000, 400, 395), devices=4, xla=False, precision="float32", accumulate=4)
    assert found.part == "step"
    for word in ("mirrored", "jit_compile", "bfloat16", "--accumulate 2"):
        assert any(word in remedy for remedy in found.remedies), word


def test_parts_that_are_fast_alone_but_slow_together():
    assert advise((2000, 1500, 700)).part == "transfer"
    assert advise((2000, 1500, 700), device="CPU").part == "step"  # they share the cores


def test_equal_parts_get_remedies_for_both():
    found = advise((1000, 1000, 950), xla=False)
    assert found.part == "both" and len(found.remedies) >= 3
