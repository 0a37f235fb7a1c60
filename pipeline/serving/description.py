"""`export.json`: what an export folder holds, and the digests that tell whether it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from etils import epath

from groundwork.errors import UserError

FILE_NAME = "export.json"
FORMAT = 1
KERAS_FILE = "model.keras"
MODEL_CARD = "README.md"
GRAPH_FILE = "saved_model.pb"
BLOCK = 1 << 20


@dataclass(frozen=True)
class Description:
    """What `export.json` says."""

    variant: str
    """Architecture, such as B/16."""
    image_size: tuple[int, int]
    """Height and width that the model sees."""
    class_names: tuple[str, ...]
    """Names of the classes, in the order of the logits; empty without a head."""
    preprocess: dict[str, Any]
    """Settings of `EvalPreprocess`."""
    activation: str
    """What makes probabilities of logits: softmax or sigmoid."""
    parity: dict[str, float]
    """Largest absolute differences found when the export was checked."""
    files: dict[str, str]
    """SHA-256 of each file."""
    fingerprint: str
    """SHA-256 over the SavedModel's files."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from: run, step, versions."""
    format: int = FORMAT

    def write(self, folder: epath.Path) -> None:
        """Write `export.json` into `folder`."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        (folder / FILE_NAME).write_text(text, encoding="utf-8")


def read_description(folder: epath.Path) -> Description:
    """Read `export.json` and check that the folder's files are those it describes.

    Raises:
        UserError: no export is there, it is of another format, or its files were changed.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UserError(
            f"{folder} is not an export folder (no {FILE_NAME}): make one with python -m "
            "pipeline.export --workdir RUN --output MODEL"
        )
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored["image_size"] = tuple(stored["image_size"])
        stored["class_names"] = tuple(stored["class_names"])
        description = Description(**stored)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): export the model again") from error
    found = file_digests(folder, description.files)
    changed = sorted(name for name, digest in description.files.items() if found[name] != digest)
    if changed:
        raise UserError(
            f"{folder} is damaged or was changed after its export ({', '.join(changed)}): copy or "
            "export it again"
        )
    return description


def saved_model_files(folder: epath.Path) -> list[str]:
    """The SavedModel's own files, relative to `folder`, in sorted order."""
    variables = sorted(path.name for path in (folder / "variables").glob("*"))
    return [GRAPH_FILE, *(f"variables/{name}" for name in variables)]


def file_digests(folder: epath.Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each file, "missing" where there is none."""
    return {name: _digest(folder / name) for name in names}


def saved_model_fingerprint(folder: epath.Path) -> str:
    """SHA-256 over the SavedModel's files: names and digests."""
    digests = file_digests(folder, saved_model_files(folder))
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _digest(path: epath.Path) -> str:
    if not path.is_file():
        return "missing"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
