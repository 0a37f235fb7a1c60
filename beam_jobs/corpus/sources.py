"""What `--input` takes: class folders, tar files, tables, patterns of these, local or remote."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beam_jobs.corpus import folder_source, manifest_source, tar_source
from beam_jobs.corpus.entries import Entry, class_name, text
from beam_jobs.corpus.folder_source import file_entry, is_image_name
from groundwork import storage
from groundwork.errors import UserError

_WILDCARD = re.compile(r"[*?\[]")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")


class Unit(NamedTuple):
    """A part of the input that one worker lists."""

    kind: str
    """folder, tar, table or image."""
    root: bytes
    """What the user named, or the fixed part of a pattern."""
    path: bytes


def units(spec: str) -> list[Unit]:
    """The units of one `--input`.

    Raises:
        UserError: nothing is there, or it is nothing that can be read.
    """
    spec = storage.without_file_scheme(spec)
    if storage.is_remote(spec):
        storage.check_scheme(spec)
    if not _WILDCARD.search(spec) or _exists(spec):
        return _units_of(spec, spec.rpartition("/")[0])
    fixed = _WILDCARD.split(spec)[0].rpartition("/")[0]
    if storage.is_remote(spec):
        try:
            found = sorted(path for path, _ in storage.match(spec))
        except OSError as error:
            raise UserError(f"--input {spec} cannot be listed: {error}") from error
    else:
        # not Path.glob: it takes no absolute pattern
        found = sorted(glob.glob(spec, recursive=True))  # noqa: PTH207
    if not found:
        raise UserError(f"--input {spec} matches nothing")
    return [unit for path in found for unit in _units_of(path, fixed, found_by_pattern=True)]


def list_unit(unit: Unit, *, label_from_archive: bool = False) -> Iterator[Entry]:
    """The images of a unit, in no particular order. Raises UserError for a bad table."""
    root, path = os.fsdecode(unit.root), os.fsdecode(unit.path)
    if unit.kind == "tar":
        yield from tar_source.list_tar(path, label_from_archive=label_from_archive)
    elif unit.kind == "table":
        yield from manifest_source.list_manifest(path)
    elif unit.kind == "image":
        yield from _image(root, path)
    else:
        yield from folder_source.list_unit(root, path)


def _units_of(path: str, fixed: str, *, found_by_pattern: bool = False) -> list[Unit]:
    name = path.rpartition("/")[2].lower()
    encoded = os.fsencode(path)
    if name.endswith(_COMPRESSED):
        raise UserError(
            f"--input {path}: images in a compressed archive cannot be read in place; unpack it, "
            "or repack it as a plain .tar"
        )
    is_folder = not storage.is_remote(path) and Path(path).is_dir()
    # what a pattern found is there, at least as a broken link: reading it will say so
    exists = found_by_pattern or storage.is_remote(path) or Path(path).exists()
    if not exists:
        raise UserError(f"--input {path} does not exist")
    if not is_folder and name.endswith(tar_source.SUFFIX):
        return [Unit("tar", encoded, encoded)]
    if not is_folder and name.endswith(manifest_source.SUFFIXES):
        return [Unit("table", encoded, encoded)]
    if not is_folder and is_image_name(name):
        return [Unit("image", os.fsencode(fixed), encoded)]
    if not is_folder and not storage.is_remote(path):
        raise UserError(
            f"--input {path} is no folder, no .tar, no .csv, .tsv or .jsonl table, and no image"
        )
    return [Unit("folder", encoded, os.fsencode(unit)) for unit in folder_source.units(path)]


def _image(root: str, path: str) -> Iterator[Entry]:
    """One image that a pattern found: its label is the folder that it lies in."""
    below = path.removeprefix(root).lstrip("/")
    parent = path.rpartition("/")[0].rpartition("/")[2]
    labels = (class_name(text(parent)),) if parent else ()
    if storage.is_remote(path):
        yield Entry(below, labels, path.encode())
    else:
        yield from file_entry(Path(path), text(below), labels)


def _exists(spec: str) -> bool:
    """Whether a local file or folder has this very name, though it looks like a pattern."""
    return not storage.is_remote(spec) and Path(spec).exists()
