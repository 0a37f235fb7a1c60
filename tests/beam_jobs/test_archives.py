"""Tar and zip files: whole, damaged, joined, compressed, linked."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pytest
from beam_corpus import ALL, build, encoded, picture, rejected, stored, tar

from groundwork.errors import JobError, UserError


def image(number: int) -> bytes:
    return encoded(picture(number))


def members(count: int, first: int = 0) -> list[tuple[str, bytes]]:
    return [(f"c/{n}.jpg", image(n)) for n in range(first, first + count)]


@pytest.mark.parametrize("at_member", [True, False])
def test_a_tar_cut_short_fails_the_job(tmp_path, at_member):
    """At a member's end Python's tarfile takes the cut for the end of the archive."""
    whole = tar(members(8))
    cut = whole.index(image(4)) - 512 if at_member else whole.index(image(4)) + 100
    (tmp_path / "x.tar").write_bytes(whole[:cut])
    with pytest.raises(JobError, match=r"damaged_archive.*damaged: x.tar \(end\).*mend them"):
        build(tmp_path / "x.tar", tmp_path / "out", *ALL)
    with pytest.raises(JobError, match="damaged_archive"):
        build(tmp_path / "x.tar", tmp_path / "out", *ALL, "--max_rejected", "0.4")
    build(tmp_path / "x.tar", tmp_path / "out", *ALL, "--max_rejected", "0.7")
    assert stored(tmp_path / "out").keys() == {f"x.tar/c/{n}.jpg" for n in range(4)}
    assert rejected(tmp_path / "out")["x.tar (end)"] == "damaged_archive"


def test_damage_inside_a_tar_counts_for_what_follows(tmp_path):
    whole = bytearray(tar(members(8)))
    begin = whole.index(b"c/2.jpg")  # a header
    whole[begin : begin + 512] = b"x" * 512
    (tmp_path / "x.tar").write_bytes(whole)
    # two images were read, and three times as many bytes follow
    with pytest.raises(JobError, match=r"damaged_archive.*--max_rejected 0\.[78]"):
        build(tmp_path / "x.tar", tmp_path / "out", *ALL, "--max_rejected", "0.5")
    (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["images"] >= 6
    assert "no member begins at byte" in json.loads(line)["detail"]


def test_what_is_no_tar_counts_by_its_size(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100_000)
    (tmp_path / "y.tar").write_bytes(tar(members(40)))
    with pytest.raises(JobError, match="13 of 53 images are bad"):
        build(f"{tmp_path}/*.tar", tmp_path / "out", *ALL, "--max_rejected", "0.2")


def test_joined_tars_are_read_to_the_end(tmp_path):
    joined = tar(members(2)) + tar(members(2, 2)) + bytes(5120) + tar(members(1, 4))
    (tmp_path / "x.tar").write_bytes(joined)
    build(tmp_path / "x.tar", tmp_path / "out", *ALL)
    assert stored(tmp_path / "out").keys() == {f"x.tar/c/{n}.jpg" for n in range(5)}


def test_links_inside_a_tar_are_images(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("./a/0.jpg")
        member.size = len(image(0))
        archive.addfile(member, io.BytesIO(image(0)))
        for name, kind, target in [
            ("b/hard.jpg", tarfile.LNKTYPE, "./a/0.jpg"),
            ("b/soft.jpg", tarfile.SYMTYPE, "../a/0.jpg"),
            ("b/twice.jpg", tarfile.SYMTYPE, "soft.jpg"),
            ("b/nowhere.jpg", tarfile.SYMTYPE, "../../etc/passwd"),
        ]:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    (tmp_path / "x.tar").write_bytes(file.getvalue())
    build(tmp_path / "x.tar", tmp_path / "out", *ALL, "--max_rejected", "0.2")
    assert stored(tmp_path / "out") == {
        "x.tar/a/0.jpg": ("a", image(0)),
        "x.tar/b/hard.jpg": ("b", image(0)),
        "x.tar/b/soft.jpg": ("b", image(0)),
        "x.tar/b/twice.jpg": ("b", image(0)),
    }
    assert rejected(tmp_path / "out") == {"x.tar/b/nowhere.jpg": "unreadable"}


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".tar.gz", gzip.compress), (".tgz", gzip.compress), (".tar.bz2", bz2.compress),
     (".tar.xz", lzma.compress)],
)  # fmt: skip
def test_compressed_tars(tmp_path, suffix, pack):
    (tmp_path / f"x{suffix}").write_bytes(pack(tar(members(6))))
    build(tmp_path / f"x{suffix}", tmp_path / "out", *ALL)
    expected = {f"x{suffix}/{name}": ("c", content) for name, content in members(6)}
    assert stored(tmp_path / "out") == expected
    assert not (tmp_path / "out" / ".unpacked").exists()


def test_a_compressed_tar_cut_short_fails_the_job(tmp_path):
    packed = gzip.compress(tar(members(20)))
    (tmp_path / "x.tar.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(JobError, match=r"damaged: x.tar.gz \(end\)"):
        build(tmp_path / "x.tar.gz", tmp_path / "out", *ALL)


def zipped(path, entries, kind=zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def test_zip_files(tmp_path):
    zipped(tmp_path / "x.zip", [*members(4), ("__MACOSX/c/._0.jpg", b"x"), ("read.me", b"x")])
    zipped(tmp_path / "y.zip", [("0.jpg", image(0)), ("0.cls", b"d")], zipfile.ZIP_STORED)
    build(f"{tmp_path}/*.zip", tmp_path / "out", *ALL)
    expected = {f"x.zip/{name}": ("c", content) for name, content in members(4)}
    assert stored(tmp_path / "out") == expected | {"y.zip/0.jpg": ("d", image(0))}


def test_bad_zip_files(tmp_path):
    zipped(tmp_path / "x.zip", members(4), zipfile.ZIP_BZIP2)
    with pytest.raises(JobError, match="4 of 4 images are bad"):
        build(tmp_path / "x.zip", tmp_path / "bzip2", *ALL, "--max_rejected", "1")
    assert "compressed by method 12" in (tmp_path / "bzip2" / "rejected.jsonl").read_text()
    zipped(tmp_path / "y.zip", members(4))
    whole = (tmp_path / "y.zip").read_bytes()
    (tmp_path / "y.zip").write_bytes(whole[:-100])
    with pytest.raises(JobError, match=r"damaged: y.zip"):
        build(tmp_path / "y.zip", tmp_path / "cut", *ALL)
    damaged = bytearray(whole)
    begin = whole.index(b"c/1.jpg") + 200
    damaged[begin : begin + 30] = bytes(30)
    (tmp_path / "y.zip").write_bytes(damaged)
    build(tmp_path / "y.zip", tmp_path / "out", *ALL, "--max_rejected", "0.5")
    assert rejected(tmp_path / "out").keys() == {"y.zip/c/1.jpg"}


def test_archives_that_are_not_read_are_refused(tmp_path):
    (tmp_path / "x.7z").write_bytes(b"")
    with pytest.raises(UserError, match=r"x.7z: an archive of this kind is not read; unpack it"):
        build(tmp_path / "x.7z", tmp_path / "out")


def webdataset(tmp_path, label: str, *more: tuple[str, bytes]):
    entries = [("0.jpg", image(0)), ("0.json", label.encode()), *more]
    entries += [("1.jpg", image(1)), ("1.json", b'{"label": "cat"}')]
    (tmp_path / "x.tar").write_bytes(tar(entries))
    return tmp_path / "x.tar"


def test_a_json_label_null_is_no_label(tmp_path):
    source = webdataset(tmp_path, '{"label": null}')
    build(source, tmp_path / "out", *ALL, "--max_rejected", "0.5")
    assert stored(tmp_path / "out") == {"x.tar/1.jpg": ("cat", image(1))}
    assert rejected(tmp_path / "out") == {"x.tar/0.jpg": "no_label"}


def test_a_json_label_list_is_several_labels(tmp_path):
    source = webdataset(tmp_path, '{"label": ["a", "b"]}')
    with pytest.raises(UserError, match=r"x.tar/0.jpg has 2 labels: give --multi_label"):
        build(source, tmp_path / "out", *ALL)


@pytest.mark.parametrize("label", ['{"label": {"a": 1}}', '{"label": true}', '{"label": [1.5]}'])
def test_other_json_labels_are_errors(tmp_path, label):
    with pytest.raises(UserError, match=r"x.tar/0.json: the label .* is neither text nor"):
        build(webdataset(tmp_path, label), tmp_path / "out", *ALL)


def test_a_label_that_is_no_json_is_no_folder_name(tmp_path):
    source = webdataset(tmp_path, '{"label": ')
    build(source, tmp_path / "out", *ALL, "--max_rejected", "0.5")
    assert rejected(tmp_path / "out") == {"x.tar/0.jpg": "unreadable"}


def test_a_mask_beside_an_image_is_no_image(tmp_path, capsys):
    mask = ("0.seg.png", encoded(picture(5), "PNG"))
    build(webdataset(tmp_path, '{"label": "dog"}', mask), tmp_path / "out", *ALL)
    assert stored(tmp_path / "out").keys() == {"x.tar/0.jpg", "x.tar/1.jpg"}
    assert "files passed over: 1 × companion" in capsys.readouterr().out


def test_a_dot_in_a_name_is_no_mask(tmp_path):
    entries = [("c/a.jpg", image(0)), ("c/a.2019.jpg", image(1)), ("c/b.seg.jpg", image(2))]
    (tmp_path / "x.tar").write_bytes(tar(entries))
    build(tmp_path / "x.tar", tmp_path / "out", *ALL)
    assert len(stored(tmp_path / "out")) == 3
