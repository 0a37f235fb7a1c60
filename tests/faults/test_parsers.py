"""Properties of what reads bytes from outside, tried on inputs that Hypothesis makes up."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from dataset_folders import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundwork.errors import UserError
from pipeline.data.dataset.shard_counts import count_records
from pipeline.data.dataset.source import open_source
from pipeline.data.images.exif import orientation

tried = settings(
    max_examples=25 * int(os.environ.get("FAULTS_ROUNDS", "1")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def framed(records: list[bytes]) -> bytes:
    """What TensorFlow itself writes of `records`."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "file"))
        with tf.io.TFRecordWriter(path) as writer:
            for record in records:
                writer.write(record)
        return Path(path).read_bytes()


def readable(path: Path) -> int:
    """Records that TensorFlow reads before it stops."""
    count = 0
    try:
        for _ in tf.data.TFRecordDataset(str(path)):
            count += 1
    except tf.errors.DataLossError:
        pass
    return count


@tried
@given(records=st.lists(st.binary(max_size=40), max_size=6), cut=st.integers(0, 400))
def test_a_file_that_was_cut_counts_what_tensorflow_reads(tmp_path, records, cut):
    path = tmp_path / "file"
    content = framed(records)[: cut or None]
    path.write_bytes(content)
    assert count_records(str(path), len(content)) == readable(path)


@tried
@given(content=st.binary(max_size=200))
def test_any_bytes_are_counted_without_end_or_error(tmp_path, content):
    """Lengths that are negative, or larger than any disk, among them."""
    path = tmp_path / "file"
    path.write_bytes(content)
    assert readable(path) <= count_records(str(path), len(content)) <= len(content) // 16


@tried
@given(value=st.integers(0, 300), first=st.booleans(), comment=st.text(max_size=30))
def test_orientations_are_those_that_pillow_wrote(value, first, comment):
    exif = PIL.Image.Exif()
    if first:
        exif[0x0110] = comment  # the camera's model
    exif[0x0112] = value
    pixels = PIL.Image.new("RGB", (3, 2))
    jpeg = _jpeg(pixels, exif)
    assert int(orientation(tf.constant(jpeg))) == (value if 1 <= value <= 8 else 1)


def _jpeg(image: PIL.Image.Image, exif: PIL.Image.Exif) -> bytes:
    return encode(np.asarray(image), "JPEG", exif=exif.tobytes())


@tried
@given(content=st.binary(max_size=300), tail=st.binary(max_size=100))
def test_any_bytes_have_an_orientation(content, tail):
    for encoded in (content, b"\xff\xd8\xff\xe1" + content + b"Exif\0\0" + tail):
        assert 1 <= int(orientation(tf.constant(encoded))) <= 8


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [path] + [place for key, one in inner for place in places(one, (*path, key))]


@tried
@given(data=st.data(), name=st.sampled_from(["features.json", "dataset_info.json"]))
def test_any_description_opens_or_is_one_line(dataset, tmp_path, data, name):
    """A value anywhere in it replaced by any other."""
    folder = tmp_path / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(dataset, folder)
    description = json.loads((folder / name).read_text())
    *above, last = data.draw(st.sampled_from(places(description)[1:]))
    node = description
    for key in above:
        node = node[key]
    node[last] = data.draw(values)
    (folder / name).write_text(json.dumps(description))
    try:
        source = open_source(str(folder))
        assert source.num_classes > 0
        source.split("train")
    except UserError as error:
        assert "\n" not in str(error)
    except Exception as error:
        pytest.fail(f"{name} with {node[last]!r} at {above, last}: {type(error).__name__}: {error}")
