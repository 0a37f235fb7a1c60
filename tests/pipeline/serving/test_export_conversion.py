"""LiteRT and ONNX conversions answer as the SavedModel does."""

import importlib.util
import json

import numpy as np
import pytest
from dataset_folders import encode, write_dataset_folder
from exported_models import CLASS_NAMES, export_tiny_vit, tiny_vit

from groundwork.errors import UserError
from pipeline import export as command
from pipeline.data.dataset.source import open_source
from pipeline.serving.conversion import litert, onnx
from pipeline.serving.conversion.convert_export import FORMATS, convert_export
from pipeline.serving.conversion.runtime import require
from pipeline.serving.loading import open_export
from pipeline.serving.parity import ParityError

PACKAGES = {"litert": "ai_edge_litert", "onnx": "tf2onnx"}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conversion")
    export_tiny_vit(folder / "model", tiny_vit(width=32, mlp_dim=64))
    images = [encode(RNG.integers(0, 256, (16, 24, 3), np.uint8)) for _ in range(40)]
    examples = [(image, i % 3, str(i)) for i, image in enumerate(images)]
    write_dataset_folder(folder / "same", {"test": examples}, CLASS_NAMES)
    write_dataset_folder(folder / "other", {"test": examples}, "abc")
    return folder


def need(to):
    if importlib.util.find_spec(PACKAGES[to]) is None:
        pytest.skip(f"{PACKAGES[to]} is not installed")


@pytest.mark.parametrize("to", ["litert", "onnx"])
@pytest.mark.parametrize(
    ("precision", "allowed"), [("float32", 1e-5), ("float16", 0.02), ("int8", 0.5)]
)
def test_conversion_answers_as_the_saved_model(inputs, tmp_path, to, precision, allowed):
    need(to)
    export = open_export(str(inputs / "model"))
    source = open_source(str(inputs / "same"))
    dataset = (source, source.split("test"))
    options = {"to": to, "precision": precision, "dataset": dataset}
    conversion = convert_export(export, str(tmp_path), **options)
    assert conversion.max_abs_logit_difference <= allowed
    assert conversion.comparison is not None
    assert conversion.comparison.agreement >= (1.0 if precision == "float32" else 0.9)
    assert conversion.comparison.accuracy is not None
    content = (tmp_path / conversion.file).read_bytes()
    stored = json.loads((tmp_path / "conversion.json").read_text())
    assert stored["bytes"] == len(content)
    assert stored["class_names"] == list(CLASS_NAMES)
    # Written to disk is what was compared; any batch size, again and again.
    images = RNG.uniform(-1, 1, (5, 16, 24, 3)).astype(np.float32)
    expected = export.keras_model()(images, training=False).numpy()
    runner = FORMATS[to].make_runner(content)
    for first, last in [(0, 5), (0, 5), (0, 1), (1, 2), (2, 3), (3, 5), (1, 3)]:
        answer = runner(images[first:last])
        np.testing.assert_allclose(answer, expected[first:last], atol=allowed)


@pytest.mark.parametrize("to", ["litert", "onnx"])
def test_lower_precision_is_smaller(inputs, to):
    need(to)
    export = open_export(str(inputs / "model"))
    sizes = [len(FORMATS[to].convert(export, p)) for p in ("float32", "float16", "int8")]
    assert sizes[1] < sizes[0] and sizes[2] < sizes[0]


def test_other_classes_give_agreement_but_no_accuracy(inputs, tmp_path, capsys, monkeypatch):
    need("litert")
    arguments = ["--to", "litert", "--model", str(inputs / "model"), "--output", str(tmp_path)]
    source = ["--data.source", str(inputs / "other")]
    monkeypatch.setattr("sys.argv", ["export", *arguments, *source])
    assert command.main() == 0
    printed = capsys.readouterr().out
    assert "decisions 100.00 % equal on 40 images" in printed
    assert "accuracy" not in printed


def test_a_conversion_that_computes_something_else_is_refused(inputs, tmp_path, monkeypatch):
    need("litert")
    monkeypatch.setattr(
        litert, "make_runner", lambda content: lambda images: np.zeros((len(images), 3), np.float32)
    )
    export = open_export(str(inputs / "model"))
    with pytest.raises(ParityError, match="logits differ from the SavedModel's by"):
        convert_export(export, str(tmp_path / "out"), to="litert")
    assert not any((tmp_path / "out").iterdir())


def test_decisions_that_differ_on_the_dataset_are_refused(inputs, tmp_path, monkeypatch):
    """Right on the first call and wrong afterwards, as an interpreter was once seen to be."""
    need("onnx")
    make_runner = onnx.make_runner

    def forgetful(content):
        run, calls = make_runner(content), iter(range(100))
        return lambda images: run(images) * (1 if next(calls) < 5 else -1)

    monkeypatch.setattr(onnx, "make_runner", forgetful)
    source = open_source(str(inputs / "same"))
    dataset = (source, source.split("test"))
    export = open_export(str(inputs / "model"))
    with pytest.raises(ParityError, match="of the decisions on 40 images equal"):
        convert_export(export, str(tmp_path / "out"), to="onnx", dataset=dataset)
    assert not any((tmp_path / "out").iterdir())


def test_missing_package_gives_the_command_that_installs_it():
    with pytest.raises(UserError, match="pip install tf2onnx onnx"):
        require("no_such_module", "tf2onnx onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx"], "model is missing"),
        ([], "give either workdir, of a run, or model"),
        (["--workdir", "w", "--precision", "int8"], "precision are for --to litert or onnx"),
        (["--to", "onnx", "--model", "m", "--workdir", "w"], "give --model alone"),
        (["--to", "onnx", "--model", "/nowhere"], "does not exist"),
    ],
)
def test_options_that_do_not_go_together(monkeypatch, tmp_path, arguments, message):
    monkeypatch.setattr("sys.argv", ["export", "--output", str(tmp_path / "o"), *arguments])
    with pytest.raises(UserError, match=message):
        command.main()
