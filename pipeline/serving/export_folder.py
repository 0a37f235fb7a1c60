"""Write an export folder: all of it or nothing."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import filelock
import keras
import tensorflow as tf
from etils import epath

from groundwork import storage
from groundwork.errors import UserError
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.process.disk_full import explain_full_disk
from pipeline.process.wildcards import refuse_wildcards
from pipeline.serving.description import (
    FILE_NAME,
    KERAS_FILE,
    MODEL_CARD,
    Description,
    file_digests,
    model_fingerprint,
    saved_model_files,
)
from pipeline.serving.outputs import writing_to
from pipeline.serving.parity import check_parity
from pipeline.serving.signatures import Activation, save_saved_model

STAGING = ".staging"
LOCK = ".lock"
REPLACED = ".replaced"
UNFINISHED = ".unfinished-export"
"""Object that says of a folder in a bucket that an export is being sent there, or was."""


def export_model(
    model: keras.Model,
    preprocess: EvalPreprocess,
    class_names: Sequence[str],
    output: str,
    *,
    variant: str,
    activation: Activation = "softmax",
    thresholds: Sequence[float] = (),
    origin: dict[str, Any] | None = None,
    card: Callable[[Description], str] | None = None,
) -> Description:
    """Write `model` to the folder `output` as SavedModel, `.keras` file and `export.json`.

    The folder is written beside `output`, checked for parity with `model`, and renamed at the end;
    an export that was there before is replaced. The exported model computes in float32.

    Args:
        model: a `vit_keras` model.
        preprocess: from encoded bytes to what the model sees; goes into the SavedModel.
        class_names: names in the order of the logits; empty for a model without a head.
        output: folder; local, or remote such as gs://bucket/model.
        variant: architecture, such as B/16, for `export.json`.
        activation: what makes probabilities of the logits; sigmoid after the sigmoid loss.
        thresholds: of a model for any number of labels to an image, see `Description`.
        origin: where the weights come from, for `export.json`: JSON values.
        card: makes the text of `README.md`; None: there is none.

    Raises:
        ParityError: what was written does not compute what `model` computes; `output` is untouched.
        UserError: `output` holds something else than an export, or cannot be written.
        DiskFull: there is no space for it.
    """
    if len(class_names) != (model.num_classes or 0):
        raise ValueError(f"{len(class_names)} class names for {model.num_classes} classes")
    target = output if storage.is_remote(output) else str(Path(output).expanduser())
    refuse_wildcards(output, "output")
    _refuse_foreign(target)
    model = in_float32(model)
    with (
        explain_full_disk("the export", target),  # as TensorFlow tells it
        writing_to(target, "--output"),
        _staging_folder(target) as folder,
    ):
        save_saved_model(str(folder), model, preprocess, activation)
        (folder / "fingerprint.pb").unlink(missing_ok=True)  # of TensorFlow's, not reproducible
        model.save(folder / KERAS_FILE)
        parity = check_parity(folder, model, preprocess)
        described = epath.Path(folder)
        description = Description(
            variant=variant,
            image_size=preprocess.image_size,
            class_names=tuple(class_names),
            preprocess=preprocess.get_config(),
            activation=activation,
            parity=parity,
            files=file_digests(described, [*saved_model_files(described), KERAS_FILE]),
            fingerprint=_fingerprint(model, preprocess, activation),
            thresholds=tuple(thresholds),
            origin=(origin or {}) | {"tensorflow": tf.__version__, "keras": keras.__version__},
        )
        if card:
            (folder / MODEL_CARD).write_text(card(description), encoding="utf-8")
        description.write(described)
        _put_in_place(folder, target)
    return description


def _fingerprint(model: keras.Model, preprocess: EvalPreprocess, activation: Activation) -> str:
    settings = {
        # the name, and the type that an export does not compute in, change no answer
        "config": {k: v for k, v in model.get_config().items() if k not in ("name", "dtype")},
        "architecture": type(model).__name__,
        "preprocess": preprocess.get_config(),
        "activation": activation,
    }
    # The path without the model's own name, which is chosen by who builds it.
    weights = {variable.path.partition("/")[2]: variable.numpy() for variable in model.variables}
    return model_fingerprint(weights, settings)


def _refuse_foreign(target: str) -> None:
    names = storage.names(target)
    if (names and not names & {FILE_NAME, UNFINISHED}) or (not names and Path(target).is_file()):
        raise UserError(
            f"{target} exists and is not an export folder: name another --output, or remove it"
        )


@contextlib.contextmanager
def _staging_folder(output: str) -> Iterator[Path]:
    """A folder to write in, on the same file system as `output` where that is local.

    It goes with the context, also where SIGTERM or SIGHUP ends the process. One that a killed
    export left behind is found here, by the lock that its process held.
    """
    if storage.is_remote(output):
        with tempfile.TemporaryDirectory(prefix="export-") as name, _unwound_by_signals():
            yield Path(name)
        return
    target = Path(output)
    parent = target.parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    # Not `tempfile`, whose folders are for the owner alone: this one is what stays.
    folder = parent / f".{target.name}-{uuid.uuid4().hex}{STAGING}"
    lock = Path(f"{folder}{LOCK}")
    # Nobody else knows the name; to wait for it would be for ever where it cannot be made.
    with _unwound_by_signals(), filelock.FileLock(lock, blocking=False):
        try:
            folder.mkdir()
            yield folder
        finally:
            _clean(folder, target)
            lock.unlink(missing_ok=True)


def _remove_abandoned(target: Path) -> None:
    """Remove what exports to `target` that were killed have left."""
    for lock in target.parent.glob(f".{glob.escape(target.name)}-*{STAGING}{LOCK}"):
        running = (OSError, filelock.Timeout)
        with contextlib.suppress(*running), filelock.FileLock(lock, blocking=False):
            _clean(Path(str(lock).removesuffix(LOCK)), target)
            lock.unlink(missing_ok=True)


def _clean(folder: Path, target: Path) -> None:
    """Remove a staging folder, and the export that it replaced: or put that back, if it did not."""
    replaced = Path(f"{folder}{REPLACED}")
    if replaced.exists() and not target.exists():
        replaced.rename(target)
    for leftover in (folder, replaced):
        shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP, where nothing handles them, end the process as `sys.exit` does."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _put_in_place(folder: Path, output: str) -> None:
    """Make `folder` the new `output`, its content on the disk before its name is."""
    if storage.is_remote(output):
        _send(folder, output)
        return
    target = Path(output)
    for path in [*folder.rglob("*"), folder]:
        _flush(path)
    if target.exists():
        # A folder cannot be replaced in one step; the old one goes aside and with the staging.
        target.rename(f"{folder}{REPLACED}")
    folder.rename(target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _send(folder: Path, url: str) -> None:
    """Copy to a remote folder, the description last: without it the folder is no export.

    What an export that was killed has sent is told from other people's files by `UNFINISHED`.
    """
    storage.write_text(storage.join(url, UNFINISHED), "")
    storage.delete(storage.join(url, FILE_NAME))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == FILE_NAME):
        name = path.relative_to(folder).as_posix()
        storage.copy_from_local(str(path), storage.join(url, name))
    storage.delete(storage.join(url, UNFINISHED))


def in_float32(model: keras.Model) -> keras.Model:
    """`model` itself where it computes in float32, else a copy that does, with the same weights.

    Weights are float32 in every policy, so that nothing is lost.
    """
    if model.compute_dtype == "float32":
        return model
    copy = model.__class__.from_config({**model.get_config(), "dtype": "float32"})
    copy.set_weights(model.get_weights())
    return copy
