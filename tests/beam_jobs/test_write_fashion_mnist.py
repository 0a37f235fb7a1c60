"""Fashion-MNIST from IDX files, here generated ones."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from beam_jobs import write_fashion_mnist
from groundwork.errors import UserError

COUNTS = {"train": 40, "t10k": 13}


def write_idx(path, array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def files(tmp_path):
    """Folder of the four files, and the arrays in them."""
    folder, generator = tmp_path / "idx", np.random.default_rng(0)
    folder.mkdir()
    arrays = {}
    for prefix, count in COUNTS.items():
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        labels = generator.integers(0, 10, count, np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)
        arrays[prefix] = images, labels
    return folder, arrays


def test_every_picture_is_there_with_its_label(files, tmp_path):
    folder, arrays = files
    output = tmp_path / "fashion"
    write_fashion_mnist.main(["--input", str(folder), "--output", str(output)])
    builder = tfds.builder_from_directory(output)
    assert builder.info.features["label"].names[9] == "Ankle boot"
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = arrays[prefix]
        found = {
            example["key"].decode(): example
            for example in tfds.as_numpy(builder.as_dataset(split=split))
        }
        assert len(found) == len(labels)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            example = found[f"{split}/{index:05d}"]
            assert example["label"] == label
            np.testing.assert_array_equal(example["image"][..., 0], image)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "dataset-fashion-mnist"),
        (lambda path: path.write_bytes(path.read_bytes()[:20]), "cannot be unpacked"),
        (lambda path: path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x09abc")), "not an IDX"),
        (lambda path: write_idx(path, np.zeros(5, np.uint8)), "do not belong together"),
    ],
)
def test_damaged_files_are_named(files, tmp_path, damage, message):
    folder, _ = files
    damage(folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(UserError, match=message):
        write_fashion_mnist.main(["--input", str(folder), "--output", str(tmp_path / "x")])
