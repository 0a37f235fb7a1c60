"""A model in whichever form the user has it: the one resolver of all commands.

An export folder, a workdir, a file of weights (official .npz, .safetensors, .keras), a folder with
one, or a name that `vit_keras.from_pretrained` takes. Whatever it is, its pixels are in [-1, 1].
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from zipfile import BadZipFile

import keras
from etils import epath

import vit_keras
from groundwork import storage
from groundwork.errors import DiskFull, JobError, UserError, one_line
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.named_models.pixel_range import in_pipeline_range
from pipeline.serving.description import FILE_NAME
from pipeline.serving.export_folder import export_model
from pipeline.serving.loading import Export, open_export
from pipeline.serving.local_copy import local_copy
from pipeline.serving.signatures import Activation
from pipeline.training.model.build_model import architecture_of
from vit_keras.hub.choose_weights import WEIGHTS
from vit_keras.hub.http_file import file_sha256
from vit_keras.hub.named_file import is_name, local_file


class Load(Protocol):
    """Gives a model for another use of it."""

    def __call__(
        self,
        size: tuple[int, int] | None,
        classes: int | Literal["keep"],
        policy: str | None,
        /,
    ) -> keras.Model:
        """The model for another (height, width), with a new head of so many classes, under a Keras
        dtype policy. None, "keep" and None: all as it is."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model and what identifies it."""

    name: str
    """As the user named it."""
    identity: dict[str, Any]
    """For result.json; `fingerprint` tells other weights apart."""
    export: Export | None
    """The export folder; None where the model came in another form."""
    load: Load
    eval_resize: int | None = None
    """Of an evaluation as the model was trained for it; see `EvalPreprocess`. Without an export."""
    activation: Activation = "softmax"
    """What makes probabilities of its logits."""
    thresholds: tuple[float, ...] = ()
    """Where an image has any number of labels, see `Description`. Without an export."""

    @property
    def fingerprint(self) -> str:
        """Changes with the weights."""
        return str(self.identity["fingerprint"])

    def as_export(self, folder: str) -> Export:
        """The export folder; of a model that came in another form, one that is written here.

        Raises:
            UserError: `folder` holds something else, or cannot be written.
        """
        if self.export is not None:
            return self.export
        model = self.load(None, "keep", None)
        classes = model.num_classes or 0
        names = model.class_names or tuple(map(str, range(classes)))
        export_model(
            model,
            self._preprocess(model),
            names,
            folder,
            variant=str(self.identity["variant"]),
            activation=self.activation,
            thresholds=self.thresholds,
            origin={"model": self.name, "sha256": self.fingerprint, **self.identity["origin"]},
        )
        return open_export(folder)

    def _preprocess(self, model: keras.Model) -> EvalPreprocess:
        expected, size = model.preprocessing, model.image_size
        resize = self.eval_resize
        if resize is None and expected.crop is not None:
            resize = math.floor(min(size) / expected.crop)
        bicubic = expected.interpolation == "bicubic"
        return EvalPreprocess(size, resize, "bicubic" if bicubic else "bilinear")


def open_evaluated_model(name: str) -> EvaluatedModel:
    """Open a model by its name, which may have to be downloaded.

    Raises:
        UserError: there is no such thing, or it is private.
        JobError: it could not be downloaded.
        DiskFull: there is no space to keep it.
    """
    if name.endswith(WEIGHTS) or (is_name(name) and not storage.is_served(name)):
        return _from_file(name, _local(name))
    is_export = storage.exists(storage.join(name, FILE_NAME))
    if not is_export and storage.exists(storage.join(name, "config.yaml")):
        return _from_workdir(name)
    if not is_export and not storage.is_remote(name) and _holds_weights(Path(name).expanduser()):
        return _from_file(name, _local(name))
    export = open_export(name)
    description = export.description
    identity = {
        "folder": name,
        "fingerprint": description.fingerprint,
        "variant": description.variant,
        "image_size": list(description.image_size),
        "preprocess": description.preprocess,
        "origin": description.origin,
    }
    return EvaluatedModel(
        name, identity, export, lambda *changes: _adapt(export.keras_model(), *changes)
    )


def _holds_weights(folder: epath.Path) -> bool:
    return folder.is_dir() and any(path.name.endswith(WEIGHTS) for path in folder.iterdir())


@contextlib.contextmanager
def opened_as_export(name: str) -> Iterator[Export]:
    """A model by its name as an export folder, which goes with the context if it was made for it.

    Raises:
        UserError, JobError, DiskFull: as `open_evaluated_model`.
    """
    evaluated = open_evaluated_model(name)
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        yield evaluated.as_export(f"{folder}/model")


def named_architecture(
    name: str, image_size: tuple[int, int], num_classes: int
) -> dict[str, Any] | None:
    """The architecture of a model by its name, for `build_like`; None: `name` names no model.

    Args:
        name: of a run's `model.variant`.
        image_size: height and width it is to have.
        num_classes: classes of its new head.

    Raises:
        UserError, JobError, DiskFull: as `open_evaluated_model`.
    """
    if not names_model(name):
        return None
    return architecture_of(open_evaluated_model(name).load(image_size, num_classes, "float32"))


def names_model(name: str) -> bool:
    """Whether `name` is that of a model's weights, and not of a variant such as B/16."""
    if name.endswith(WEIGHTS) or is_name(name):
        return True
    of_ours = (storage.join(name, file) for file in (FILE_NAME, "config.yaml"))
    return any(map(storage.exists, of_ours)) or _holds_weights(Path(name).expanduser())


def initial_weights(
    name: str, image_size: tuple[int, int], class_names: Sequence[str] = ()
) -> keras.Model:
    """A model to take weights from, at another image size: what `init_from` names.

    Its head starts anew where its classes have other names than `class_names`, if both are known.

    Raises:
        UserError, JobError, DiskFull: as `open_evaluated_model`.
    """
    try:
        evaluated = open_evaluated_model(name)
        model = evaluated.load(image_size, "keep", "float32")
        named = evaluated.export.description.class_names if evaluated.export else model.class_names
        if class_names and named and list(named) != list(class_names):
            model = evaluated.load(image_size, len(class_names), "float32")
        return model
    except UserError as error:
        raise type(error)(f"init_from: {error}") from error


def _local(name: str) -> Path:
    if name.startswith(("gs://", "s3://")):  # which may be private
        return Path(local_copy(name))
    try:
        return local_file(name)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"model {name}: {error.strerror}") from error
        if isinstance(error, FileNotFoundError | PermissionError):
            raise UserError(f"model {one_line(error)}") from error
        raise JobError(f"model {one_line(error)}") from error
    except (ValueError, ModuleNotFoundError) as error:
        raise UserError(f"model {one_line(error)}") from error


def _from_workdir(path: str) -> EvaluatedModel:
    from pipeline.workdir.trained_model import load_trained_model

    trained = load_trained_model(path)
    model = trained.model
    if model.num_classes:
        model.class_names = tuple(trained.class_names)
    digest = _weights_digest(model)
    identity = {
        "folder": path,
        "fingerprint": digest,
        "variant": trained.config.model.variant,
        "image_size": list(model.image_size),
        "origin": {"workdir": path, "step": trained.step},
    }
    return EvaluatedModel(
        path,
        identity,
        None,
        lambda *changes: _adapt(model, *changes),
        trained.config.data.eval_resize,
        trained.config.activation,
        trained.thresholds,
    )


def _weights_digest(model: keras.Model) -> str:
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


def _from_file(name: str, path: Path) -> EvaluatedModel:
    identity = {
        "folder": name,
        "fingerprint": file_sha256(path),
        "variant": path.name if not is_name(name) else name,
        "image_size": [],
        "origin": {},
    }

    def load(
        size: tuple[int, int] | None, classes: int | Literal["keep"], policy: str | None
    ) -> keras.Model:
        precision: dict[str, Any] = {} if policy is None else {"dtype": policy}
        try:
            model = vit_keras.from_pretrained(
                path, image_size=size, num_classes=classes, **precision
            )
        except (ValueError, OSError, TypeError, KeyError, ImportError, BadZipFile) as error:
            raise UserError(f"model {name}: {one_line(error)}") from error
        return in_pipeline_range(model, name)

    return EvaluatedModel(name, identity, None, load)


def _adapt(
    model: keras.Model,
    size: tuple[int, int] | None,
    classes: int | Literal["keep"],
    policy: str | None,
) -> keras.Model:
    """The same backbone for another resolution, with a new head that starts at zero."""
    precision: dict[str, Any] = {} if policy is None else {"dtype": policy}
    try:
        return vit_keras.adapt_model(model, image_size=size, num_classes=classes, **precision)
    except ValueError as error:
        raise UserError(f"model: {one_line(error)}") from error
