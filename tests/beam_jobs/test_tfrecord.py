import io
import subprocess
import sys

import pytest
from beam_corpus import REPOSITORY

from beam_jobs.dataset import tfrecord
from beam_jobs.dataset.example import Example, deserialize, serialize

RECORDS = [b"", b"a", b"x" * 100_000]


def file_of(records: list[bytes]) -> bytes:
    return b"".join(map(tfrecord.frame, records))


def test_round_trip():
    assert list(tfrecord.read(io.BytesIO(file_of(RECORDS)))) == RECORDS


def test_tensorflow_reads_the_same(tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = tmp_path / "file.tfrecord"
    path.write_bytes(file_of(RECORDS))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == RECORDS
    example = Example(b"image", (7,), "käy\n")
    feature = tf.train.Example.FromString(serialize(example)).features.feature
    assert feature["image"].bytes_list.value[:] == [b"image"]
    assert feature["label"].int64_list.value[:] == [7]
    assert feature["key"].bytes_list.value[0].decode() == "käy\n"


def test_any_flipped_bit_is_found():
    whole = file_of([b"first", b"second"])
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        with pytest.raises(tfrecord.CorruptRecordError):
            list(tfrecord.read(io.BytesIO(bytes(damaged))))


def test_a_file_cut_short_is_found():
    whole = file_of([b"first", b"second"])
    ends = {0, len(file_of([b"first"])), len(whole)}
    for length in set(range(len(whole))) - ends:
        with pytest.raises(tfrecord.CorruptRecordError, match="cut short"):
            list(tfrecord.read(io.BytesIO(whole[:length])))


def test_examples_round_trip():
    for labels in ((), (3,), (0, 5, 9)):
        example = Example(b"\xff\x00", labels, 'a "key" 😀')
        assert deserialize(serialize(example)) == example


def test_writing_needs_no_tensorflow():
    program = (
        "import sys; from beam_jobs.dataset.tfrecord import frame;"
        "from beam_jobs.dataset.example import *;"
        "frame(serialize(Example(b'', (1,), 'k'))); sys.exit('tensorflow' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False).returncode == 0
    )
