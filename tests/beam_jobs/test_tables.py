"""Tables as users have them: other columns, separators, encodings, Parquet, further fields."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from beam_corpus import ALL, build, class_names, encoded, examples, picture, rejected, stored, tar

from groundwork.errors import JobError, UserError

tfds = pytest.importorskip("tensorflow_datasets")


def image(number: int) -> bytes:
    return encoded(picture(number))


@pytest.fixture
def images(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(image(number))
    return tmp_path


def test_other_columns_separators_and_encodings(images):
    rows = ["photo;class;part;id", "0.jpg;Bär;train;eins", "1.jpg;Kuh;test;zwei"]
    (images / "t.csv").write_bytes("\n".join(rows).encode("utf-16"))
    with pytest.raises(UserError, match=r"t.csv is not UTF-8.*--encoding names another"):
        build(images / "t.csv", images / "out")
    options = ("--encoding", "utf-16", "--separator", ";")
    with pytest.raises(UserError, match=r"columns 'photo', 'class'.*'path' and 'label' are needed"):
        build(images / "t.csv", images / "out", *options)
    columns = ("--columns", "image=photo,label=class,split=part,key=id")
    build(images / "t.csv", images / "out", *options, *columns)
    assert stored(images / "out") == {"eins": ("Bär", image(0))}
    assert stored(images / "out", "test") == {"zwei": ("Kuh", image(1))}


def test_a_named_column_must_be_there(images):
    (images / "t.csv").write_text("path,label\n0.jpg,a")
    with pytest.raises(UserError, match="'fold' is needed"):
        build(images / "t.csv", images / "out", "--columns", "split=fold")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--columns", "picture=a"), "'picture=a' is not ROLE=NAME"),
        (("--columns", "image=a,image=b"), "'image=b' is not ROLE=NAME, once"),
        (("--separator", "ab"), "--separator 'ab': give one character"),
        (("--encoding", "latin-99"), "Python knows no such encoding"),
        (("--keep", "label"), "--keep label: a feature is named with"),
        (("--keep", "a b"), "--keep a b: a feature is named with"),
        (("--retries", "-1"), "--retries -1 is negative"),
        (("--host_connections", "0"), "--host_connections 0: give at least 1"),
    ],
)
def test_bad_options(images, arguments, message):
    with pytest.raises(UserError, match=message):
        build(images / "0.jpg", images / "out", *arguments)


ROWS = [
    {"caption": "a cat", "boxes": [[0, 0.5, 1, 1], [0, 0, 1, 1]], "id": -7, "tags": ["x", "y"],
     "score": 1, "years": []},
    {"caption": None, "boxes": [], "id": 2**40, "tags": [], "score": 0.5, "years": []},
]  # fmt: skip


def test_further_fields_are_features(images):
    lines = [{"path": f"{n}.jpg", "label": "a", **row} for n, row in enumerate(ROWS)]
    (images / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    build(images / "t.jsonl", images / "out", *ALL, "--keep", "caption,boxes", "id", "tags",
          "score", "years")  # fmt: skip
    builder = tfds.builder_from_directory(images / "out")
    assert set(builder.info.features) == {"image", "label", "key", *ROWS[0]}
    found = {row["key"].decode(): row for row in tfds.as_numpy(builder.as_dataset(split="train"))}
    first, second = found["0.jpg"], found["1.jpg"]
    assert (first["caption"], second["caption"]) == (b"a cat", b"")
    assert first["boxes"].tolist() == ROWS[0]["boxes"]
    assert second["boxes"].shape == (0, 4)
    assert (first["id"], second["id"]) == (-7, 2**40)
    assert (first["tags"].tolist(), second["tags"].tolist()) == ([b"x", b"y"], [])
    assert (first["score"], second["score"]) == (1.0, 0.5)
    assert first["years"].shape == (0,)
    assert first["image"].shape == (20, 30, 3)


def test_equal_bytes_with_further_fields():
    """What is written by hand is what protobuf writes."""
    from tensorflow_datasets.proto import tf_example_pb2

    from beam_jobs.dataset.example import Example, serialize
    from beam_jobs.dataset.extra_features import field

    fields = (
        field("z", "ints", [-1, 3]),
        field("a", "floats[2]", [[1, 2], [3.5, -4]]),
        field("n", "text", "ü"),
        field("t", "texts", []),
    )
    record = serialize(Example(b"image", (2,), "key", fields))
    message = tf_example_pb2.Example.FromString(record)
    assert message.SerializeToString(deterministic=True) == record
    feature = message.features.feature
    assert list(feature["z"].int64_list.value) == [-1, 3]
    assert list(feature["a"].float_list.value) == [1, 2, 3.5, -4]
    assert list(feature["n"].bytes_list.value) == ["ü".encode()]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (["a", 1], UserError, "--keep x: it is int and elsewhere text"),
        ([1, None], JobError, "1.jpg: it has no number for x"),
        ([{"a": 1}, 1], UserError, "--keep x: 0.jpg: .* is no text, number"),
        ([[[1, 2], [3]], []], UserError, "is no text, number, list of these, or rows"),
        ([2**70, 1], UserError, "has more than 64 bits"),
    ],
)
def test_fields_that_cannot_be_features(images, values, error, message):
    lines = [{"path": f"{n}.jpg", "label": "a", "x": value} for n, value in enumerate(values)]
    (images / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(error, match=message):
        build(images / "t.jsonl", images / "out", *ALL, "--keep", "x")


def test_a_field_that_a_table_lacks(images):
    (images / "t.csv").write_text("path,label\n0.jpg,a")
    with pytest.raises(UserError, match="'caption' is needed"):
        build(images / "t.csv", images / "out", "--keep", "caption")


def test_fields_of_webdataset(tmp_path):
    members = [("0.jpg", image(0)), ("0.json", b'{"label": 1, "width": 30}'), ("0.txt", b"a cat")]
    members += [("1.jpg", image(1)), ("1.json", b'{"label": 2, "width": 31}')]
    (tmp_path / "x.tar").write_bytes(tar(members))
    build(tmp_path / "x.tar", tmp_path / "out", *ALL, "--keep", "txt", "width")
    builder = tfds.builder_from_directory(tmp_path / "out")
    rows = tfds.as_numpy(builder.as_dataset(split="train"))
    found = {row["key"].decode(): (row["txt"], row["width"]) for row in rows}
    assert found == {"x.tar/0.jpg": (b"a cat", 30), "x.tar/1.jpg": (b"", 31)}


def parquet(path, columns: dict[str, list[object]], features: dict[str, object] | None = None):
    table = pyarrow.table(columns)
    if features is not None:
        described = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": described})
    pyarrow.parquet.write_table(table, path, row_group_size=3)
    return path


def test_parquet_as_hugging_face_has_it(tmp_path):
    column = [{"bytes": image(n), "path": f"{n}.jpg"} for n in range(8)]
    labels = [n % 2 for n in range(7)] + [-1]
    features = {"label": {"names": ["dog", "cat"], "_type": "ClassLabel"}}
    texts = [f"picture {n}" for n in range(8)]
    source = parquet(
        tmp_path / "t.parquet", {"image": column, "label": labels, "caption": texts}, features
    )
    build(source, tmp_path / "out", *ALL, "--keep", "caption", "--max_rejected", "0.2")
    names = ("dog", "cat")
    assert stored(tmp_path / "out") == {
        f"t.parquet/{n:08d}": (names[n % 2], image(n)) for n in range(7)
    }
    assert rejected(tmp_path / "out") == {"t.parquet/00000007": "no_label"}
    assert not (tmp_path / "out" / ".unpacked").exists()
    rows = tfds.as_numpy(tfds.builder_from_directory(tmp_path / "out").as_dataset(split="train"))
    assert {row["key"].decode()[-1]: row["caption"].decode()[-1] for row in rows} == {
        str(n): str(n) for n in range(7)
    }


def test_parquet_with_bytes_paths_and_several_labels(images):
    sequence = {"tags": {"feature": {"names": ["a", "b"], "_type": "ClassLabel"}}}
    columns = {"img": [image(0), image(1)], "tags": [[0, 1], []], "id": ["x", "y"]}
    source = parquet(images / "t.parquet", columns, sequence)
    named = ("--columns", "image=img,label=tags,key=id", "--multi_label")
    build(source, images / "out", *ALL, *named)
    assert {e.key: e.labels for e in examples(images / "out")} == {"x": (0, 1), "y": ()}
    assert class_names(images / "out") == ["a", "b"]
    parquet(images / "p.parquet", {"path": ["2.jpg", "3.jpg"], "label": [10, 9]})
    build(images / "p.parquet", images / "paths", *ALL)
    assert stored(images / "paths") == {"2.jpg": ("10", image(2)), "3.jpg": ("9", image(3))}
    assert class_names(images / "paths") == ["9", "10"]


def test_bad_parquet_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"t.parquet is no whole Parquet file"):
        build(tmp_path / "t.parquet", tmp_path / "out")
    source = parquet(tmp_path / "t.parquet", {"picture": [image(0)], "label": [1]})
    with pytest.raises(UserError, match="columns 'picture', 'label': 'path' is needed"):
        build(source, tmp_path / "out")
    source = parquet(
        tmp_path / "t.parquet", {"image": [{"bytes": None, "path": None}], "label": [1]}
    )
    with pytest.raises(UserError, match=r"t.parquet row 0 has neither bytes nor a path"):
        build(source, tmp_path / "out")
    features = {"label": {"names": ["dog"], "_type": "ClassLabel"}}
    source = parquet(tmp_path / "t.parquet", {"image": [image(0)], "label": [1]}, features)
    with pytest.raises(UserError, match=r"row 0: the label 1 is none of its 1 classes"):
        build(source, tmp_path / "out")


def test_the_splits_of_parquet_files(tmp_path):
    for name in ("train", "test"):
        column = [{"bytes": image(n), "path": None} for n in range(2)]
        parquet(tmp_path / f"{name}-0.parquet", {"image": column, "label": ["a", "b"]})
    inputs = (f"train={tmp_path}/train-*.parquet", "--input", f"test={tmp_path}/test-*.parquet")
    build(inputs[0], tmp_path / "out", *inputs[1:])
    for name in ("train", "test"):
        assert stored(tmp_path / "out", name).keys() == {
            f"{name}/{name}-0.parquet/{n:08d}" for n in range(2)
        }


def test_a_stopped_job_reads_its_copy_of_a_parquet_again(tmp_path):
    source = parquet(tmp_path / "t.parquet", {"image": [image(0), b"no image"], "label": [1, 2]})
    with pytest.raises(JobError, match="1 of 2 images are bad"):
        build(source, tmp_path / "out", *ALL)
    (copy,) = (tmp_path / "out" / ".unpacked").iterdir()
    assert copy.read_bytes() == image(0) + b"no image"
    before = copy.stat().st_mtime_ns
    with pytest.raises(JobError):
        build(source, tmp_path / "out", *ALL, "--retry_rejected")
    assert copy.stat().st_mtime_ns == before
    parquet(source, {"image": [image(0), image(1)], "label": [1, 2]})
    build(source, tmp_path / "out", *ALL)
    assert len(stored(tmp_path / "out")) == 2
