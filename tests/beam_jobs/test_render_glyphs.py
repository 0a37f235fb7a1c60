import io
import itertools
from collections import Counter

import numpy as np
import pytest
from beam_corpus import class_names, contents, examples
from PIL import Image

from beam_jobs import render_glyphs
from beam_jobs.drawing import glyphs
from groundwork.errors import UserError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glyphs") / "d"
    arguments = ["--per_class", "4", "--validation_per_class", "1", "--runner", "in_process"]
    render_glyphs.main(["--output", str(folder), *arguments])
    return folder


def test_classes_are_letters_and_no_digits():
    assert len(set(glyphs.LETTERS)) == len(glyphs.LETTERS) == 166
    assert not any(letter.isdigit() or letter.isnumeric() for letter in glyphs.LETTERS)
    assert all(letter.isalpha() for letter in glyphs.LETTERS)
    assert all(len(glyphs._fonts_with(letter)) >= 8 for letter in glyphs.LETTERS)


def test_no_two_classes_look_alike():
    """The undistorted letters of one font, by the share of ink that two have in common."""
    ink = {
        letter: np.asarray(glyphs._draw(letter, "DejaVuSans", 0), np.float32) / 255
        for letter in glyphs.LETTERS
    }
    for one, other in itertools.combinations(glyphs.LETTERS, 2):
        common = np.minimum(ink[one], ink[other]).sum() / np.maximum(ink[one], ink[other]).sum()
        assert common < 0.93, (one, other)


def test_the_dataset(dataset):
    train, validation = examples(dataset), examples(dataset, "validation")
    labels = range(len(glyphs.LETTERS))
    assert Counter(example.labels[0] for example in train) == dict.fromkeys(labels, 4)
    assert Counter(example.labels[0] for example in validation) == dict.fromkeys(labels, 1)
    assert class_names(dataset) == list(glyphs.LETTERS)
    images = [Image.open(io.BytesIO(example.image)) for example in train]
    assert {(image.size, image.mode, image.format) for image in images} == {((32, 32), "L", "PNG")}
    assert len({example.image for example in train + validation}) == 5 * len(glyphs.LETTERS)


def test_strokes_are_bright_on_dark(dataset):
    for example in examples(dataset, "validation"):
        pixels = np.asarray(Image.open(io.BytesIO(example.image)), np.float32)
        assert pixels.max() - np.median(pixels) > np.median(pixels) - pixels.min() or (
            np.median(pixels) > 128  # a bold letter that fills its picture
        )


def test_the_same_options_give_the_same_bytes(dataset, tmp_path):
    arguments = ["--per_class", "4", "--validation_per_class", "1", "--workers", "2"]
    render_glyphs.main(["--output", str(tmp_path / "d"), *arguments])
    assert contents(tmp_path / "d") == contents(dataset)


def test_another_seed_gives_other_images():
    first, second = (
        list(render_glyphs.Glyphs(seed, {"train": 166})(render_glyphs.Shard("g", "train", 0, 8)))
        for seed in (0, 1)
    )
    assert {example.key for example in first} == {example.key for example in second}
    assert not {example.image for example in first} & {example.image for example in second}


def test_bad_counts_are_named(tmp_path):
    with pytest.raises(UserError, match="--per_class 0: give at least 1"):
        render_glyphs.main(["--output", str(tmp_path / "d"), "--per_class", "0"])
