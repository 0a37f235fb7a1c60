"""A model to a repository on the Hugging Face Hub, in one commit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import keras

import vit_keras
from groundwork.errors import DiskFull, JobError, UserError, one_line
from pipeline.named_models.evaluated_model import opened_as_export
from pipeline.named_models.hub_card import HubFacts, hub_card
from pipeline.serving.description import KERAS_FILE, MODEL_CARD
from pipeline.serving.loading import Export
from vit_keras.hub.hub_files import hub_errors, hub_module

LAYOUTS = ("timm", "hugging_face")
"""Tried in this order; a model that neither has a place for is published as its .keras file."""
TIMM = """
timm loads it too:

```python
import timm

model = timm.create_model("hf_hub:{repo}", pretrained=True)
```
"""


def publish(name: str, repo: str, *, private: bool, license: str | None) -> str:
    """Publish a model, in place of what the repository holds of these files.

    Args:
        name: of the model, as `open_evaluated_model` takes it.
        repo: OWNER/NAME.
        private: whether a repository that is made for it is.
        license: for the card.

    Returns:
        The repository's URL.

    Raises:
        UserError: no such model, no right to write there, or huggingface_hub is not installed.
        JobError: the Hub could not be reached, or refused.
    """
    try:
        hub = hub_module()
        with opened_as_export(name) as export, tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_repository(export, repo, folder, license)
            with hub_errors(f"hf://{repo}"):
                url = hub.create_repo(repo, private=private, exist_ok=True)
                hub.upload_folder(
                    repo_id=repo, folder_path=folder, commit_message="Weights, config and card"
                )
        return str(url)
    except (UserError, DiskFull):
        raise
    except (PermissionError, FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        raise UserError(f"publish: {one_line(error)}") from error
    except OSError as error:
        raise JobError(f"publish: {one_line(error)}") from error


def write_repository(export: Export, repo: str, folder: Path, license: str | None) -> None:
    """Write what a repository of the model holds to an empty folder.

    Args:
        export: the model.
        repo: OWNER/NAME, for the card.
        folder: where to.
        license: for the card.
    """
    model, description = export.keras_model(), export.description
    preprocess = export.preprocess
    crop = (
        None
        if preprocess.eval_resize is None
        else min(preprocess.image_size) / preprocess.eval_resize
    )
    model.preprocessing = replace(
        model.preprocessing, crop=crop, interpolation=preprocess.interpolation
    )
    if description.class_names:
        model.class_names = description.class_names
    layout = _write_weights(model, folder)
    source = Path(export.folder) / MODEL_CARD
    card = source.read_text(encoding="utf-8") if source.is_file() else ""
    data = description.origin.get("data")
    facts = HubFacts(
        repo,
        "model.safetensors" if layout else KERAS_FILE,
        license,
        _metrics(description.origin),
        data if isinstance(data, str) else None,
        TIMM.format(repo=repo) if _is_timm(folder) else "",
    )
    (folder / MODEL_CARD).write_text(hub_card(facts, description, card), encoding="utf-8")


def _write_weights(model: keras.Model, folder: Path) -> str | None:
    """Write weights and config; gives the layout, None for a .keras file."""
    for layout in LAYOUTS:
        try:
            vit_keras.save_weights(model, folder / "model.safetensors", layout)
        except ValueError:
            for path in folder.iterdir():
                path.unlink()
        else:
            return layout
    model.save(folder / KERAS_FILE)
    return None


def _is_timm(folder: Path) -> bool:
    """Whether the config names a function of timm's that makes the model."""
    config = folder / "config.json"
    return config.is_file() and "architecture" in json.loads(config.read_text(encoding="utf-8"))


def _metrics(origin: Mapping[str, object]) -> dict[str, float]:
    found = origin.get("metrics")
    if not isinstance(found, Mapping):
        return {}
    return {str(name): float(value) for name, value in found.items()}
