"""python -m pipeline.classify."""

import csv
import json

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
from dataset_folders import encode
from exported_models import CLASS_NAMES, export_tiny_vit, tiny_vit

from groundwork.errors import UserError
from pipeline import classify
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.loading import open_export

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    model = export_tiny_vit(folder / "model")
    for name, kind in [("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.webp", "WEBP")]:
        (folder / name).write_bytes(encode(RNG.integers(0, 256, (30, 20, 3), np.uint8), kind))
    (folder / "bad.jpg").write_text("<html>")
    return folder, model


def test_prints_the_top_classes_with_their_probabilities(files, capsys):
    folder, model = files
    path = str(folder / "a.png")
    assert classify.main(["--model", str(folder / "model"), path, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    image = EvalPreprocess(model.image_size)((folder / "a.png").read_bytes())
    probabilities = tf.nn.softmax(model(image[None])[0]).numpy()
    best = np.argsort(-probabilities)[:2]
    expected = [f"  {100 * probabilities[i]:5.1f} %  {CLASS_NAMES[i]}" for i in best]
    assert lines == [path, *expected]


def test_a_bad_file_does_not_stop_the_others(files, capsys):
    folder, _ = files
    names = ["bad.jpg", "b.jpg", "none.png", "c.webp"]
    paths = [str(folder / name) for name in names]
    assert classify.main(["--model", str(folder / "model"), *paths]) == classify.SOME_FAILED
    printed = capsys.readouterr()
    assert "b.jpg" in printed.out and "c.webp" in printed.out
    assert printed.err.splitlines() == [
        f"{paths[0]}: not a JPEG, PNG, GIF, BMP or WebP image, or damaged, or larger than 67 "
        "megapixels",
        f"{paths[2]}: No such file or directory",
    ]
    with pytest.raises(UserError, match="none of the images"):
        classify.main(["--model", str(folder / "model"), paths[0]])


def test_draws_attention(files, tmp_path):
    folder, _ = files
    picture = tmp_path / "attention.png"
    arguments = [str(folder / "a.png"), str(folder / "b.jpg"), "--attention", str(picture)]
    classify.main(["--model", str(folder / "model"), *arguments])
    pixels = tf.io.decode_png(picture.read_bytes(), channels=3).numpy()
    assert pixels.shape[0] > 200 and pixels.std() > 10


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        ("a.xyz", r"--attention .*a\.xyz: give a file that ends in \.png"),
        ("model", r"ends in \.png"),
        ("a.png/x.png", r"cannot write .*a\.png .*name another --attention"),
    ],
)
def test_attention_that_cannot_be_written_is_one_line(files, attention, message):
    folder, _ = files
    arguments = ["--model", str(folder / "model"), str(folder / "a.png")]
    with pytest.raises(UserError, match=message) as caught:
        classify.main([*arguments, "--attention", str(folder / attention)])
    assert "\n" not in str(caught.value) and caught.value.exit_status == 2


def test_errors_are_one_line(files, tmp_path):
    for arguments, message in [
        ([], "give --images and --model"),
        (["--model", "m", "a.png", "--top", "0"], "top"),
        (["--model", str(tmp_path / "none"), "a.png"], "does not exist"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            classify.main(arguments)
        assert "\n" not in str(caught.value)
    export_tiny_vit(tmp_path / "headless", tiny_vit(num_classes=None))
    with pytest.raises(UserError, match="has no head"):
        classify.main(["--model", str(tmp_path / "headless"), "a.png"])


def table(path):
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
        return [{name: value or None for name, value in row.items()} for row in rows]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return pyarrow.parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_folder_becomes_a_table(files, tmp_path, ending, capsys):
    """With files that are no images, in batches of two, and with a threshold that one is below."""
    folder, _ = files
    (folder / "deep").mkdir(exist_ok=True)
    (folder / "deep" / "a.PNG").write_bytes((folder / "a.png").read_bytes())
    model, output = str(folder / "model"), tmp_path / f"answers{ending}"
    arguments = ["--model", model, str(folder), "--output", str(output), "--batch_size", "2"]
    assert classify.main([*arguments, "--top", "2"]) == classify.SOME_FAILED
    rows = table(output)
    names = ["a.png", "b.jpg", "bad.jpg", "c.webp", "deep/a.PNG"]
    assert [row["path"] for row in rows] == [str(folder / name) for name in names]
    assert list(rows[0]) == [
        *("path", "class", "problem", "class_1", "probability_1", "class_2", "probability_2")
    ]
    assert rows[2]["class"] is rows[2]["probability_1"] is None
    assert rows[2]["problem"].startswith("not a JPEG")
    images = [(folder / name).read_bytes() for name in names if name != "bad.jpg"]
    expected = open_export(model).probabilities(images)[0]
    good = [row for row in rows if not row["problem"]]
    for row, probabilities in zip(good, expected, strict=True):
        assert row["class"] == row["class_1"] == CLASS_NAMES[probabilities.argmax()]
        assert float(row["probability_1"]) == pytest.approx(probabilities.max(), abs=1e-5)
    told = capsys.readouterr()
    assert "5 images in" in told.out and "images/s; 1 could not be read" in told.out
    assert "files that are no images by their names are passed over" in told.err
    surest = expected.max(axis=1)
    threshold = str((surest.min() + surest.max()) / 2)
    if ending == ".csv":
        classify.main([*arguments, "--threshold", threshold])
        assert sum(row["class"] is None for row in table(output)) >= 2


def test_a_table_that_cannot_be_is_one_line(files, tmp_path):
    folder, _ = files
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ([str(folder), "--output", "x.txt"], "--output x.txt: give a file that ends in .csv"),
        ([str(tmp_path / "empty")], "no image in this folder"),
        ([str(folder), "--threshold", "2"], "--threshold is 2.0: give a probability"),
        ([str(folder / "bad.jpg"), "--output", str(tmp_path / "x.csv")], "none of the images"),
    ]:
        with pytest.raises(UserError, match=message):
            classify.main(["--model", str(folder / "model"), *arguments])
    assert not (tmp_path / "x.csv").exists()
