"""The model that is evaluated, in whichever form the user has it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import vit_keras
from groundwork import storage
from groundwork.errors import UserError, one_line
from pipeline.serving.loading import Export, open_export
from pipeline.serving.local_copy import local_copy

WEIGHT_FILES = (".keras", ".npz", ".safetensors")


@dataclass(frozen=True)
class EvaluatedModel:
    """A model and what identifies it."""

    name: str
    """As the user named it."""
    identity: dict[str, Any]
    """For result.json; `fingerprint` tells other weights apart."""
    export: Export | None
    """The export folder; None where the model came in another form."""
    load: Callable[[tuple[int, int], int, str], keras.Model]
    """Gives the model for another (height, width), with a new head of so many classes, under a
    Keras dtype policy."""

    @property
    def fingerprint(self) -> str:
        """Changes with the weights."""
        return str(self.identity["fingerprint"])


def open_evaluated_model(path: str) -> EvaluatedModel:
    """Open an export folder, a workdir, or a file of weights.

    Raises:
        UserError: there is no such thing.
    """
    if path.endswith(WEIGHT_FILES):
        return _from_file(path)
    config, description = (storage.join(path, name) for name in ("config.yaml", "export.json"))
    if storage.exists(config) and not storage.exists(description):
        return _from_workdir(path)
    export = open_export(path)
    description = export.description
    identity = {
        "folder": path,
        "fingerprint": description.fingerprint,
        "variant": description.variant,
        "image_size": list(description.image_size),
        "preprocess": description.preprocess,
        "origin": description.origin,
    }
    return EvaluatedModel(
        path, identity, export, lambda *changes: _adapt(export.keras_model(), *changes)
    )


def _from_workdir(path: str) -> EvaluatedModel:
    from pipeline.workdir.trained_model import load_trained_model

    trained = load_trained_model(path)
    digest = hashlib.sha256()
    for weight in trained.model.get_weights():
        digest.update(weight.tobytes())
    identity = {
        "folder": path,
        "fingerprint": digest.hexdigest(),
        "variant": trained.config.model.variant,
        "image_size": list(trained.model.image_size),
        "origin": {"workdir": path, "step": trained.step},
    }
    return EvaluatedModel(path, identity, None, lambda *changes: _adapt(trained.model, *changes))


def _from_file(path: str) -> EvaluatedModel:
    local = local_copy(path)
    if not Path(local).is_file():
        raise UserError(f"model file {path} does not exist")
    with Path(local).open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    name = Path(path).name
    identity = {
        "folder": path,
        "fingerprint": digest.hexdigest(),
        "variant": name,
        "image_size": [],
        "origin": {},
    }

    def load(size: tuple[int, int], classes: int, policy: str) -> keras.Model:
        try:
            if path.endswith(".keras"):
                return _adapt(keras.saving.load_model(local, compile=False), size, classes, policy)
            return vit_keras.from_pretrained(
                local, image_size=size, num_classes=classes, dtype=policy
            )
        except (ValueError, OSError) as error:
            raise UserError(f"model {path}: {one_line(error)}") from error

    return EvaluatedModel(path, identity, None, load)


def _adapt(model: keras.Model, size: tuple[int, int], classes: int, policy: str) -> keras.Model:
    """The same backbone for another resolution, with a new head that starts at zero."""
    try:
        return vit_keras.adapt_model(model, image_size=size, num_classes=classes, dtype=policy)
    except ValueError as error:
        raise UserError(f"model: {one_line(error)}") from error
