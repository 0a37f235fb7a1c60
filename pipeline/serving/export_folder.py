"""Write an export folder: all of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from etils import epath

from groundwork.errors import UserError
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.description import (
    FILE_NAME,
    KERAS_FILE,
    MODEL_CARD,
    Description,
    file_digests,
    saved_model_files,
    saved_model_fingerprint,
)
from pipeline.serving.parity import check_parity
from pipeline.serving.signatures import Activation, save_saved_model


def export_model(
    model: keras.Model,
    preprocess: EvalPreprocess,
    class_names: Sequence[str],
    output: str,
    *,
    variant: str,
    activation: Activation = "softmax",
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
        origin: where the weights come from, for `export.json`: JSON values.
        card: makes the text of `README.md`; None: there is none.

    Raises:
        ParityError: what was written does not compute what `model` computes; `output` is untouched.
        UserError: `output` holds something else than an export.
    """
    if len(class_names) != (model.num_classes or 0):
        raise ValueError(f"{len(class_names)} class names for {model.num_classes} classes")
    target = epath.Path(output).expanduser()
    _refuse_foreign(target)
    model = in_float32(model)
    with _staging_folder(target) as name:
        folder = Path(name)
        save_saved_model(name, model, preprocess, activation)
        (folder / "fingerprint.pb").unlink(missing_ok=True)  # of TensorFlow's, not reproducible
        model.save(folder / KERAS_FILE)
        parity = check_parity(folder, model, preprocess)
        described = epath.Path(name)
        description = Description(
            variant=variant,
            image_size=preprocess.image_size,
            class_names=tuple(class_names),
            preprocess=preprocess.get_config(),
            activation=activation,
            parity=parity,
            files=file_digests(described, [*saved_model_files(described), KERAS_FILE]),
            fingerprint=saved_model_fingerprint(described),
            origin=(origin or {}) | {"tensorflow": tf.__version__, "keras": keras.__version__},
        )
        if card:
            (folder / MODEL_CARD).write_text(card(description), encoding="utf-8")
        description.write(described)
        _put_in_place(folder, target)
    return description


def _refuse_foreign(target: epath.Path) -> None:
    if target.exists() and not (target / FILE_NAME).exists() and any(target.iterdir()):
        raise UserError(
            f"{target} exists and is not an export folder: name another --output, or remove it"
        )


def _staging_folder(target: epath.Path) -> tempfile.TemporaryDirectory[str]:
    """A folder to write in, on the same file system as `target` where that is local."""
    if "://" in str(target):
        return tempfile.TemporaryDirectory(prefix="export-")
    target.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(
        prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True
    )


def _put_in_place(folder: Path, target: epath.Path) -> None:
    """Make `folder` the new `target`."""
    if "://" in str(target):
        _copy(folder, target)
        return
    folder.chmod(0o755)  # temporary folders are for the owner alone
    if target.exists():
        # A folder cannot be replaced in one step; the old one goes aside and with the staging.
        aside = folder.with_name(folder.name + "-old")
        Path(target).rename(aside)
        folder.rename(target)
        shutil.rmtree(aside)
    else:
        folder.rename(target)


def _copy(folder: Path, target: epath.Path) -> None:
    """Copy to a remote folder, the description last: without it the folder is no export."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == FILE_NAME):
        destination = target / str(path.relative_to(folder))
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(path.read_bytes())


def in_float32(model: keras.Model) -> keras.Model:
    """`model` itself where it computes in float32, else a copy that does, with the same weights.

    Weights are float32 in every policy, so that nothing is lost.
    """
    if model.compute_dtype == "float32":
        return model
    copy = model.__class__.from_config({**model.get_config(), "dtype": "float32"})
    copy.set_weights(model.get_weights())
    return copy
