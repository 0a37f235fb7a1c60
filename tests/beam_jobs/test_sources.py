import importlib.util
import json

import pytest
from beam_corpus import (
    ALL,
    build,
    class_names,
    encoded,
    examples,
    make_folder,
    picture,
    rejected,
    stored,
    tar,
)

from groundwork.errors import JobError, UserError


def image(number: int) -> bytes:
    return encoded(picture(number))


def test_class_folders_in_a_tar(tmp_path):
    members = [(f"./class_{n % 2}/deep/{n}.jpg", image(n)) for n in range(6)]
    others = [("readme.txt", b"text"), ("class_0/.hidden.jpg", image(1))]
    (tmp_path / "x.tar").write_bytes(tar(members + others))
    build(tmp_path / "x.tar", tmp_path / "out", *ALL)
    assert stored(tmp_path / "out") == {
        f"x.tar/class_{n % 2}/deep/{n}.jpg": (f"class_{n % 2}", image(n)) for n in range(6)
    }


def test_a_tar_of_class_tars(tmp_path):
    """ImageNet's archive: one tar for each synset, in one tar."""
    inner = {
        name: [(f"{name}_{n}.JPEG", image(ord(name[-1]) + n)) for n in range(3)]
        for name in ("n01", "n02")
    }
    members = [(f"{name}.tar", tar(images)) for name, images in inner.items()]
    (tmp_path / "train.tar").write_bytes(tar(members))
    build(tmp_path / "train.tar", tmp_path / "out", *ALL)
    assert stored(tmp_path / "out") == {
        f"train.tar/{name}.tar/{member}": (name, content)
        for name, images in inner.items()
        for member, content in images
    }


def test_class_tars_by_a_pattern(tmp_path):
    for name in ("n01", "n02"):
        (tmp_path / f"{name}.tar").write_bytes(tar([(f"{name}_1.JPEG", image(1))]))
    build(f"{tmp_path}/*.tar", tmp_path / "out", *ALL, "--label_from", "archive")
    assert {key: name for key, (name, _) in stored(tmp_path / "out").items()} == {
        "n01.tar/n01_1.JPEG": "n01",
        "n02.tar/n02_1.JPEG": "n02",
    }


def test_webdataset(tmp_path):
    """Labels beside the images, on either side of them; classes in the order of numbers."""
    members = []
    for n in range(12):
        pair = [(f"{n:03d}.jpg", image(n)), (f"{n:03d}.cls", str(n).encode())]
        members += pair if n % 2 else pair[::-1]
    members += [("meta.json", b"{}"), ("012.seg.json", b'{"label": 3}'), ("012.jpg", image(12))]
    (tmp_path / "shard-0.tar").write_bytes(tar(members))
    build(tmp_path / "shard-0.tar", tmp_path / "out", *ALL)
    expected = {f"shard-0.tar/{n:03d}.jpg": (str(n), image(n)) for n in range(12)}
    expected["shard-0.tar/012.jpg"] = ("3", image(12))
    assert stored(tmp_path / "out") == expected
    assert class_names(tmp_path / "out") == [str(n) for n in range(12)]


def test_names_that_point_outside_are_only_names(tmp_path):
    members = [("../../evil/x.jpg", image(0)), ("/etc/passwd/y.jpg", image(1))]
    (tmp_path / "x.tar").write_bytes(tar(members))
    build(tmp_path / "x.tar", tmp_path / "deep" / "out", *ALL)
    assert stored(tmp_path / "deep" / "out").keys() == {
        "x.tar/evil/x.jpg",
        "x.tar/etc/passwd/y.jpg",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"x.tar", "deep"}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(4):
        (folder / f"{n}.jpg").write_bytes(image(n))
    return folder


def test_a_csv_table(images, tmp_path):
    rows = ["path,label,split,key", "images/0.jpg,cat,train,zero", "images/1.jpg,dog,test,"]
    rows += [f'{images}/2.jpg,"cat",train,"with, comma"', "images/missing.jpg,dog,train,"]
    (tmp_path / "table.csv").write_text("\ufeff" + "\r\n".join(rows))
    build(tmp_path / "table.csv", tmp_path / "out", "--max_rejected", "0.25")
    assert stored(tmp_path / "out") == {"zero": ("cat", image(0)), "with, comma": ("cat", image(2))}
    assert stored(tmp_path / "out", "test") == {"images/1.jpg": ("dog", image(1))}
    assert rejected(tmp_path / "out") == {"images/missing.jpg": "unreadable"}


def test_a_jsonl_table_with_several_labels(images, tmp_path):
    rows = [
        {"path": "images/0.jpg", "label": ["cat", "dog"]},
        {"path": "images/1.jpg", "label": "dog"},
        {"path": "images/2.jpg", "label": []},
    ]
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"images/0.jpg has 2 labels: give --multi_label"):
        build(tmp_path / "table.jsonl", tmp_path / "out", *ALL)
    build(tmp_path / "table.jsonl", tmp_path / "multi", *ALL, "--multi_label", "true")
    labels = {example.key: example.labels for example in examples(tmp_path / "multi")}
    assert labels == {"images/0.jpg": (0, 1), "images/1.jpg": (1,), "images/2.jpg": ()}
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(tmp_path / "multi")
    rows = tfds.as_numpy(builder.as_dataset(split="train"))
    assert {row["key"].decode(): tuple(row["label"]) for row in rows} == labels


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.csv",
            "file,label\na,b",
            "has the columns 'file', 'label': 'path' is needed; --columns",
        ),
        ("t.csv", "path;label\na;b", "has the columns 'path;label'"),
        ("t.csv", "path,label\n,b", "line 2 has no path"),
        ("t.csv", 'path,label\na,b\n"c,d\ne,f', "behind line 2 is not CSV: unexpected end"),
        ("t.jsonl", '{"path": "a\\u0000"}', r"line 1: 'a\\x00' is no Unicode, or has a NUL"),
        ("t.jsonl", '{"path": "a.jpg", "label": ["\\ud800"]}', "is no Unicode"),
        ("t.csv", "path,label\nftp://host/a.jpg,b", "ftp:// is not served"),
        ("t.csv", "path,label\na,b,c", "line 2 has more cells than its first line"),
        ("t.jsonl", '{"path": "a.jpg", "label": [null]}', "the label None is neither text nor"),
        ("t.jsonl", '{"path": "a.jpg", "label": 0.5}', "the label 0.5 is neither text nor"),
        ("t.jsonl", '{"path": "a.jpg"}\n{"path": ', "line 2 is not JSON"),
        ("t.jsonl", "[1]", "line 1 is not a JSON object"),
        ("t.jsonl", '{"path": "a.jpg", "split": "a b"}', "'a b' is no name for a split"),
        ("t.csv", b"path,label\n\xff,a", "is not UTF-8"),
    ],
)
def test_bad_tables_are_named(tmp_path, name, content, message):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as raised:
        build(tmp_path / name, tmp_path / "out")
    assert "while running" not in str(raised.value)  # what Beam adds to it


def test_file_urls(images, tmp_path):
    (tmp_path / "a table.csv").write_text(f"path,label,key\nfile://{images}/0.jpg,cat,zero")
    build(f"file://{tmp_path}/a%20table.csv", tmp_path / "out", *ALL)
    assert stored(tmp_path / "out") == {"zero": ("cat", image(0))}


def test_one_image(images, tmp_path):
    build(images / "0.jpg", tmp_path / "out", *ALL)
    assert stored(tmp_path / "out") == {"0.jpg": ("images", image(0))}


def test_links(tmp_path):
    """A link to a folder above would list its images again, as this class."""
    folder = make_folder(tmp_path / "in", 2, 2)
    (folder / "class_0" / "up").symlink_to("..")
    (folder / "class_0" / "further up").symlink_to(tmp_path)
    (folder / "class_2").symlink_to(folder / "class_1")
    build(folder, tmp_path / "out", *ALL)
    classes = [name for name, _ in stored(tmp_path / "out").values()]
    assert sorted(classes) == [f"class_{n}" for n in (0, 0, 1, 1, 2, 2)]


def test_a_broken_link_that_a_pattern_finds(images, tmp_path):
    (images / "broken.jpg").symlink_to("nowhere")
    build(f"{images}/*.jpg", tmp_path / "out", *ALL, "--max_rejected", "0.2")
    assert rejected(tmp_path / "out") == {"broken.jpg": "unreadable"}


def test_inputs_mix(tmp_path, images):
    folder = make_folder(tmp_path / "folder", 1, 2)
    (tmp_path / "x.tar").write_bytes(tar([("class_0/a.jpg", image(9))]))
    (tmp_path / "t.csv").write_text("path,label\nimages/3.jpg,class_0")
    pattern = f"{images}/[01].jpg"
    build(folder, tmp_path / "out", *ALL, "--input", str(tmp_path / "x.tar"), pattern,
          str(tmp_path / "t.csv"))  # fmt: skip
    assert {key: name for key, (name, _) in stored(tmp_path / "out").items()} == {
        "class_0/image 0.jpg": "class_0",
        "class_0/deep/er/image 1.jpg": "class_0",
        "x.tar/class_0/a.jpg": "class_0",
        "0.jpg": "images",
        "1.jpg": "images",
        "images/3.jpg": "class_0",
    }


def test_duplicate_keys(tmp_path):
    first, second = make_folder(tmp_path / "a", 1, 2), make_folder(tmp_path / "b", 1, 2)
    (second / "class_0" / "image 0.jpg").write_bytes(image(77))
    inputs = ("--input", str(second))
    with pytest.raises(JobError, match=r"two images have the key .*--on_duplicate_key drop"):
        build(first, tmp_path / "out", *ALL, *inputs)
    drop = ("--on_duplicate_key", "drop", "--max_rejected", "0.5")
    build(first, tmp_path / "drop", *ALL, *inputs, *drop)
    assert stored(tmp_path / "drop") == {
        "class_0/image 0.jpg": ("class_0", image(0)),
        "class_0/deep/er/image 1.jpg": ("class_0", image(1)),
    }
    assert set(rejected(tmp_path / "drop").values()) == {"duplicate_key"}
    build(first, tmp_path / "rename", *ALL, *inputs, "--on_duplicate_key", "rename")
    assert {key: data for key, (_, data) in stored(tmp_path / "rename").items()} == {
        "class_0/image 0.jpg": image(0),
        "class_0/image 0.jpg#1": image(77),
        "class_0/deep/er/image 1.jpg": image(1),
        "class_0/deep/er/image 1.jpg#1": image(1),
    }


def test_a_renamed_key_meets_no_other(images, tmp_path):
    rows = ["path,label,key", *(f"images/{n}.jpg,a,{key}" for n, key in enumerate("kk")),
            "images/2.jpg,a,k#1"]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(rows))
    build(tmp_path / "t.csv", tmp_path / "out", *ALL, "--on_duplicate_key", "rename")
    assert sorted(example.key for example in examples(tmp_path / "out")) == ["k", "k#1", "k#1#0"]


def test_exclude(tmp_path):
    folder = make_folder(tmp_path / "in", 1, 4)
    odd = folder / "class_0" / 'new\nline".jpg'
    odd.write_bytes(image(5))
    keys = ["class_0/image 0.jpg", json.dumps('class_0/new\nline".jpg'), "class_0/unknown.jpg"]
    (tmp_path / "keys.txt").write_text("\n".join(keys))
    build(folder, tmp_path / "out", *ALL, "--exclude", str(tmp_path / "keys.txt"))
    assert len(stored(tmp_path / "out")) == 3
    assert "class_0/image 0.jpg" not in stored(tmp_path / "out")
    (tmp_path / "keys.txt").write_text("another")
    with pytest.raises(UserError, match=r"was begun with other options \(--exclude"):
        build(folder, tmp_path / "out", *ALL, "--exclude", str(tmp_path / "keys.txt"))


def test_synset_names(tmp_path):
    folder = make_folder(tmp_path / "in", 2, 2)
    synsets = "class_1 crane\nabsent tench, Tinca tinca\nclass_0 crane\n"
    (tmp_path / "names.txt").write_text(synsets)
    build(folder, tmp_path / "out", *ALL, "--class_names", str(tmp_path / "names.txt"))
    assert class_names(tmp_path / "out") == [
        "crane (class_1)",
        "tench, Tinca tinca",
        "crane (class_0)",
    ]
    assert {key.split("/")[0]: name for key, (name, _) in stored(tmp_path / "out").items()} == {
        "class_0": "crane (class_0)",
        "class_1": "crane (class_1)",
    }
    (tmp_path / "names.txt").write_text("class_1 crane\n")
    with pytest.raises(UserError, match="class class_0 is not in the file of --class_names"):
        build(folder, tmp_path / "out2", *ALL, "--class_names", str(tmp_path / "names.txt"))


def test_remote_paths_need_their_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"s3://.*pip install 'vit-keras-pipeline\[aws\]'"):
        build("s3://bucket/photos", tmp_path / "out")


def test_an_output_that_nothing_serves(images, tmp_path):
    with pytest.raises(UserError, match="ftp:// is not served"):
        build(images / "0.jpg", "ftp://host/dataset")
