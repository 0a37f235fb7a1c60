"""Images in class folders: ROOT/CLASS/any/depth/x.jpg, or those of each split: ROOT/train/CLASS."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from beam_jobs.corpus.entries import Entry, class_name, text
from beam_jobs.corpus.passed_over import PassedOver, Why, is_hidden, look_at
from beam_jobs.images.image_formats import HEAD_BYTES
from groundwork import storage
from groundwork.errors import UserError

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
"""Names, in lower case, of folders that hold a split and not a class; the split they hold."""


def units(root: str) -> list[str]:
    """Parts of the folder that can be listed independently of each other: its class folders.

    Raises:
        UserError: no class folder in it, or folders of splits instead, or it cannot be listed.
    """
    folders = subfolders(root)
    if storage.is_remote(root):
        loose = True  # whether there are files beside them is seen when they are listed
    else:
        loose = any(not entry.is_dir() or is_hidden(entry.name) for entry in _entries(Path(root)))
    if not folders:
        images = not storage.is_remote(root) and any(map(_is_image, _entries(Path(root))))
        found = "holds images but no class folders" if images else "is empty"
        raise UserError(f"--input {root} {found}: put the images into {root}/CLASS/, any depth")
    if are_splits(map(_name, folders)) and any(map(subfolders, folders)):
        named = " ".join(f"{SPLIT_FOLDERS[_name(f).lower()]}={f}" for f in folders)
        raise UserError(
            f"--input {root} holds the splits {', '.join(map(_name, folders))}, not classes: "
            f"give --splits folders, or --input {named}"
        )
    return [root, *folders] if loose else folders


def _name(folder: str) -> str:
    return folder.rpartition("/")[2]


def are_splits(names: Iterable[str]) -> bool:
    """Whether folders of these names hold the splits of a corpus, and not its classes."""
    return {name.lower() for name in names} <= SPLIT_FOLDERS.keys()


def subfolders(root: str) -> list[str]:
    """The folders in a folder that are not hidden, sorted; raises UserError."""
    if storage.is_remote(root):
        try:
            found = storage.folders(root)
        except OSError as error:
            raise UserError(f"--input {root} cannot be listed: {error}") from error
    else:
        found = [os.fspath(entry) for entry in _entries(Path(root)) if entry.is_dir()]
    return [folder for folder in found if not is_hidden(_name(folder))]


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError as error:
        raise _cannot_be_listed(error, path) from error


def _cannot_be_listed(error: OSError, path: Path | str) -> UserError:
    name = text(os.fsdecode(error.filename or path))
    return UserError(
        f"the folder {name} cannot be listed: {error.strerror}; its images would be missing: mend "
        "its permissions, or take it out of the input"
    )


def list_unit(root: str, unit: str) -> Iterator[Entry | PassedOver]:
    """The images of one unit, in no particular order.

    Raises:
        UserError: a folder cannot be listed.
    """
    if storage.is_remote(root):
        yield from _list_remote(root, unit)
    elif Path(unit) == Path(root):  # images that lie in no class folder
        for path in _entries(Path(root)):
            if not path.is_dir():
                yield from file_or_passed(path, text(path.name), ())
            elif is_hidden(path.name):
                yield PassedOver(Why.HIDDEN)
    else:
        yield from _walk(Path(root), Path(unit))


def _walk(root: Path, unit: Path) -> Iterator[Entry | PassedOver]:
    def fail(error: OSError) -> None:
        raise _cannot_be_listed(error, unit) from error

    labels = (class_name(text(unit.name)),)
    above = (root.resolve(), *root.resolve().parents, *unit.resolve().parents)
    seen = set(map(_identity, above))
    for folder, folders, files in os.walk(unit, onerror=fail, followlinks=True):
        if _identity(Path(folder)) in seen:  # a link to a folder above, or a second one
            folders.clear()
            continue
        seen.add(_identity(Path(folder)))
        yield from (PassedOver(Why.HIDDEN) for name in folders if is_hidden(name))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        below = Path(folder).relative_to(root).as_posix()
        for name in files:
            yield from file_or_passed(Path(folder) / name, text(f"{below}/{name}"), labels)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def file_or_passed(path: Path, key: str, labels: tuple[str, ...]) -> Iterator[Entry | PassedOver]:
    """The entry of a local file, or why it is none, by its name or else its first bytes."""
    try:
        passed = look_at(path.name, lambda: _head(path))
    except OSError:  # what it is cannot be seen, so it counts: reading it will say why
        passed = None
    if passed is not None:
        yield passed
    else:
        yield from file_entry(path, key, labels)


def _head(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for ever
        return b""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def file_entry(
    path: Path, key: str, labels: tuple[str, ...], split: str = ""
) -> Iterator[Entry | PassedOver]:
    """The entry of a local file; that it is passed over where it is a pipe or the like."""
    name = os.fsencode(path)
    try:
        status = path.stat()
    except OSError:  # a broken link: reading it will say so
        yield Entry(key, labels, name, split=split)
        return
    if stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
        yield Entry(key, labels, name, 0, status.st_size, split, modified=status.st_mtime_ns)
    else:
        yield PassedOver(Why.NOT_A_FILE)


def modified(path: str) -> int:
    """When a local file was last changed, Unix time in ns; 0 where that is not known."""
    try:
        return 0 if storage.is_remote(path) else Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def split_of_folder(name: str, where: str) -> str:
    """The split that a folder holds by its name; raises UserError where it can be none."""
    split = SPLIT_FOLDERS.get(name.lower(), name)
    if not (split.isidentifier() and split.isascii()):
        raise UserError(f"--splits folders: {where} has a folder {name!r}: no name for a split")
    return split


def _is_image(path: Path) -> bool:
    return any(isinstance(found, Entry) for found in file_or_passed(path, "", ()))


def _list_remote(root: str, unit: str) -> Iterator[Entry | PassedOver]:
    prefix = root.rstrip("/") + "/"
    is_class = unit.rstrip("/") + "/" != prefix
    labels = (class_name(text(_name(unit))),) if is_class else ()
    try:
        for path, size in storage.files_below(unit) if is_class else _files_in(root):
            key = text(path.removeprefix(prefix))
            hidden = any(map(is_hidden, key.split("/")))
            passed = PassedOver(Why.HIDDEN) if hidden else look_at_url(path)
            yield passed or Entry(key, labels, os.fsencode(path), 0, size)
    except OSError as error:
        raise UserError(f"--input {unit} cannot be listed: {error}") from error


def _files_in(folder: str) -> Iterator[tuple[str, int]]:
    """Path and size of the files that lie in a remote folder itself."""
    for name in sorted(storage.names(folder) - set(map(_name, storage.folders(folder)))):
        path = storage.join(folder, name)
        yield path, storage.size(path)


def look_at_url(url: str) -> PassedOver | None:
    """Whether a remote file is an image, by its name or else its first bytes; then None."""

    def head() -> bytes:
        with storage.open_binary(url) as file:
            return file.read(HEAD_BYTES)

    try:
        return look_at(url.rpartition("/")[2], head)
    except OSError:  # what it is cannot be seen, so it counts: reading it will say why
        return None
