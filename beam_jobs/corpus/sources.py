"""What `--input` takes: class folders, archives, tables, patterns of these, local or remote."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from beam_jobs.corpus import (
    folder_source,
    manifest_source,
    parquet_source,
    tar_source,
    zip_source,
)
from beam_jobs.corpus.entries import Entry, class_name, text
from beam_jobs.corpus.folder_source import file_entry, split_of_folder
from beam_jobs.corpus.manifest_source import Format
from beam_jobs.corpus.passed_over import PassedOver
from beam_jobs.corpus.table_rows import Columns
from beam_jobs.images.image_formats import IMAGE_SUFFIXES
from groundwork import storage
from groundwork.errors import UserError
from groundwork.filesystems import check_scheme

_WILDCARD = re.compile(r"[*?\[]")
_NOT_READ = (".tar.zst", ".tzst", ".7z", ".rar")
_FOR_SPLIT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.+)", re.DOTALL)


class Unit(NamedTuple):
    """A part of the input that one worker lists."""

    kind: str
    """folder, tar, zip, table, parquet or image."""
    root: bytes
    """What the user named, or the fixed part of a pattern."""
    path: bytes
    split: str = ""
    """The split that its images are for; empty: by --splits, or by the table."""


@dataclass(frozen=True)
class Reading:
    """Options that say how sources are read."""

    folder: str
    """The dataset folder, for copies of what cannot be read in place."""
    label_from_archive: bool = False
    split_folders: bool = False
    columns: Columns = field(default_factory=Columns)
    text: Format = field(default_factory=Format)


def units(spec: str, *, split_folders: bool = False) -> list[Unit]:
    """The units of one `--input`, which may be SPLIT=PLACE.

    Raises:
        UserError: nothing is there, or it is nothing that can be read.
    """
    named = _FOR_SPLIT.fullmatch(spec)
    if named and not _exists(spec):
        return [unit._replace(split=named[1]) for unit in units(named[2])]
    spec = storage.without_file_scheme(spec)
    if storage.is_remote(spec):
        check_scheme(spec)
    if not _WILDCARD.search(spec) or _exists(spec):
        return _units_of(spec, spec.rpartition("/")[0], split_folders=split_folders)
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
    return [
        unit
        for path in found
        for unit in _units_of(path, fixed, split_folders=split_folders, found_by_pattern=True)
    ]


def list_unit(unit: Unit, reading: Reading) -> Iterator[Entry | PassedOver]:
    """The images of a unit, in no particular order. Raises UserError for a bad table."""
    for found in _list_unit(unit, reading):
        if unit.split and isinstance(found, Entry):
            # the splits of a corpus may name their images alike
            key = f"{unit.split}/{found.key}"
            yield found._replace(split=unit.split, key=key)
        else:
            yield found


def _list_unit(unit: Unit, reading: Reading) -> Iterator[Entry | PassedOver]:
    root, path = os.fsdecode(unit.root), os.fsdecode(unit.path)
    if unit.kind == "tar":
        yield from tar_source.list_tar(
            path,
            reading.folder,
            label_from_archive=reading.label_from_archive,
            split_folders=reading.split_folders,
            keep=reading.columns.keep,
        )
    elif unit.kind == "zip":
        yield from zip_source.list_zip(
            path,
            label_from_archive=reading.label_from_archive,
            split_folders=reading.split_folders,
            keep=reading.columns.keep,
        )
    elif unit.kind == "table":
        yield from manifest_source.list_manifest(path, reading.columns, reading.text)
    elif unit.kind == "parquet":
        yield from parquet_source.list_parquet(path, reading.folder, reading.columns)
    elif unit.kind == "image":
        yield from _image(root, path)
    else:
        yield from folder_source.list_unit(root, path)


def _units_of(
    path: str, fixed: str, *, split_folders: bool = False, found_by_pattern: bool = False
) -> list[Unit]:
    name = path.rpartition("/")[2].lower()
    encoded = os.fsencode(path)
    if name.endswith(_NOT_READ):
        raise UserError(
            f"--input {path}: an archive of this kind is not read; unpack it, or repack it as .tar"
        )
    is_folder = not storage.is_remote(path) and Path(path).is_dir()
    # what a pattern found is there, at least as a broken link: reading it will say so
    exists = found_by_pattern or storage.is_remote(path) or Path(path).exists()
    if not exists:
        raise UserError(f"--input {path} does not exist")
    if not is_folder:
        for kind, suffixes in _KINDS.items():
            if name.endswith(suffixes):
                return [Unit(kind, encoded, encoded)]
        if Path(name).suffix in IMAGE_SUFFIXES:
            return [Unit("image", os.fsencode(fixed), encoded)]
        if not storage.is_remote(path):
            raise UserError(
                f"--input {path} is no folder, no .tar or .zip, no .csv, .tsv, .jsonl or .parquet "
                "table, and no image"
            )
    if split_folders:
        return [
            Unit("folder", os.fsencode(folder), os.fsencode(unit), split)
            for folder in folder_source.subfolders(path)
            for split in [split_of_folder(folder.rpartition("/")[2], path)]
            for unit in folder_source.units(folder)
        ]
    return [Unit("folder", encoded, os.fsencode(unit)) for unit in folder_source.units(path)]


_KINDS = {
    "tar": tar_source.SUFFIXES,
    "zip": (zip_source.SUFFIX,),
    "table": manifest_source.SUFFIXES,
    "parquet": (parquet_source.SUFFIX,),
}


def _image(root: str, path: str) -> Iterator[Entry | PassedOver]:
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
