"""What is no image is counted by reason, and what only looks like none is an image."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from beam_corpus import ALL, build, encoded, make_folder, picture, rejected, stored, tar

from beam_jobs.corpus import folder_source
from groundwork.errors import JobError, UserError


def test_files_passed_over_are_counted(tmp_path, capsys):
    corpus = make_folder(tmp_path / "in", 1, 2)
    others = {
        "drawing.svg": b"<svg/>",
        "note.txt": b"text",
        "unknown.xyz": b"BM and more text that is no bitmap",
        "more.zip": b"PK",
        ".hidden.jpg": b"x",
        ".git/config": b"x",
    }
    for name, content in others.items():
        (corpus / "class_0" / name).parent.mkdir(exist_ok=True)
        (corpus / "class_0" / name).write_bytes(content)
    os.mkfifo(corpus / "class_0" / "pipe.jpg")  # reading it would wait for ever
    os.mkfifo(corpus / "class_0" / "pipe")
    (corpus / "README").write_text("text")
    build(corpus, tmp_path / "out", *ALL)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "passed over" in line]
    assert sorted(line.partition(": ")[2].split(", ")) == [
        "1 × archive",
        "1 × not_a_file",
        "1 × vector_image",
        "2 × hidden",
        "4 × no_image",
    ]
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert sum(plan["passed_over"].values()) == 9


def test_first_bytes_tell_what_a_name_does_not(tmp_path):
    folder = tmp_path / "in" / "c"
    folder.mkdir(parents=True)
    kinds = {"a": "JPEG", "b.jpg?w=600": "JPEG", "c.image": "PNG", "d.img": "WEBP", "e": "BMP"}
    for name, kind in kinds.items():
        (folder / name).write_bytes(encoded(picture(), kind))
    build(tmp_path / "in", tmp_path / "out", *ALL)
    assert stored(tmp_path / "out").keys() == {f"c/{name}" for name in kinds}
    (tmp_path / "x.tar").write_bytes(tar([(f"c/{n}", (folder / n).read_bytes()) for n in kinds]))
    build(tmp_path / "x.tar", tmp_path / "tar", *ALL)
    assert stored(tmp_path / "tar").keys() == {f"x.tar/c/{name}" for name in kinds}


def test_a_jpeg_xl_is_rejected_and_not_passed_over(tmp_path):
    corpus = make_folder(tmp_path / "in", 1, 2)
    (corpus / "class_0" / "x.jxl").write_bytes(b"\xff\x0a" + bytes(50))
    build(corpus, tmp_path / "out", *ALL, "--max_rejected", "0.4")
    assert rejected(tmp_path / "out") == {"class_0/x.jxl": "unknown_format"}
    assert "convert it to PNG" in (tmp_path / "out" / "rejected.jsonl").read_text()


def test_nothing_but_files_passed_over(tmp_path):
    (tmp_path / "in" / "c").mkdir(parents=True)
    (tmp_path / "in" / "c" / "x.svg").write_text("<svg/>")
    with pytest.raises(JobError, match=r"no images under .*passed over: 1 × vector_image"):
        build(tmp_path / "in", tmp_path / "out")


@contextlib.contextmanager
def without_root():
    """Folders without permissions are read by root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("below", ["", "deep"])
def test_a_folder_that_cannot_be_listed_fails_the_job(below):
    root = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folder is closed to others
    try:
        root.chmod(0o755)
        make_folder(root, 2, 2)
        closed = root / "class_1" / below
        closed.mkdir(exist_ok=True)
        closed.chmod(0)
        with without_root(), pytest.raises(UserError, match=f"folder {closed} cannot be listed"):
            for unit in folder_source.units(str(root)):
                list(folder_source.list_unit(str(root), unit))
    finally:
        closed.chmod(0o755)
        shutil.rmtree(root)


def test_folders_of_splits_are_no_classes(tmp_path):
    for name in ("train", "val"):
        make_folder(tmp_path / "in" / name, 2, 3)
    train = f"train={tmp_path}/in/train"
    with pytest.raises(UserError, match=rf"splits train, val, not classes.*{train} validation="):
        build(tmp_path / "in", tmp_path / "out")
    build(train, tmp_path / "named", "--input", f"validation={tmp_path}/in/val")
    build(tmp_path / "in", tmp_path / "folders", "--splits", "folders")
    for out in ("named", "folders"):
        for split in ("train", "validation"):
            found = stored(tmp_path / out, split)
            assert len(found) == 6
            assert all(key.startswith(f"{split}/class_") for key in found)
            assert {name for name, _ in found.values()} == {"class_0", "class_1"}


def test_splits_inside_a_tar(tmp_path):
    members = [
        (f"{split}/{label}/{n}.jpg", encoded(picture(n)))
        for split in ("train", "val")
        for label in ("cat", "dog")
        for n in range(2)
    ]
    (tmp_path / "x.tar").write_bytes(tar(members))
    with pytest.raises(UserError, match=r"x.tar holds folders of splits.*--splits folders"):
        build(tmp_path / "x.tar", tmp_path / "out")
    # nothing is written yet, so that the remedy can be applied as it stands
    build(tmp_path / "x.tar", tmp_path / "out", "--splits", "folders")
    for split in ("train", "validation"):
        names = [name for name, _ in stored(tmp_path / "out", split).values()]
        assert sorted(names) == ["cat", "cat", "dog", "dog"]


def test_a_class_named_train_is_a_class(tmp_path):
    for name in ("train", "bus"):
        (tmp_path / "in" / name / "2019").mkdir(parents=True)
        (tmp_path / "in" / name / "2019" / "x.jpg").write_bytes(encoded(picture()))
    build(tmp_path / "in", tmp_path / "out", *ALL)
    assert {name for name, _ in stored(tmp_path / "out").values()} == {"train", "bus"}


def test_an_input_whose_name_is_no_unicode(tmp_path):
    corpus = Path(os.fsdecode(os.fsencode(tmp_path) + b"/photos \xe9"))
    make_folder(corpus, 2, 2)
    with pytest.raises(UserError, match=r"photos \\xe9 is no valid Unicode.*a pattern with \?"):
        build(corpus, tmp_path / "out", *ALL)
    build(f"{tmp_path}/photos ?", tmp_path / "out", *ALL)
    assert len(stored(tmp_path / "out")) == 4
