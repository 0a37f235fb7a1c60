"""`export.json`: what an export folder holds, and the digests that tell whether it is whole."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from etils import epath
from numpy.typing import NDArray

from groundwork.errors import UserError

FILE_NAME = "export.json"
FORMAT = 1
KERAS_FILE = "model.keras"
MODEL_CARD = "README.md"
GRAPH_FILE = "saved_model.pb"
VARIABLES_INDEX = "variables/variables.index"
REQUIRED = (GRAPH_FILE, VARIABLES_INDEX, KERAS_FILE)
"""Files that every export has, and whose digests it has to give."""
FOLDERS = ("variables", "assets", "assets.extra")
"""What TensorFlow may read besides the graph."""
BLOCK = 1 << 20
SHA_256 = re.compile("[0-9a-f]{64}")


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
    """SHA-256 of what the model computes: see `model_fingerprint`."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from: run, step, versions."""
    thresholds: tuple[float, ...] = ()
    """Where an image has any number of labels: for each class the probability from which on an
    image is taken to be of it; empty: an image is of one class."""
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
        description = parse_description(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}): export the model again") from error
    found = file_digests(folder, description.files)
    changed = sorted(name for name, digest in description.files.items() if found[name] != digest)
    changed += sorted(set(saved_model_files(folder)) - set(description.files))
    if changed:
        raise UserError(
            f"{folder} is damaged or was changed after its export ({', '.join(changed)}): copy or "
            "export it again"
        )
    return description


def parse_description(text: str) -> Description:
    """Parse the text of `export.json`.

    Raises:
        ValueError: something is missing, unknown, of another type, or of another format.
    """
    try:
        stored = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(isinstance(stored, dict), "no object")
    found = stored.get("format")
    _check(found == FORMAT and type(found) is int, f"format {found!r}, this version reads {FORMAT}")
    names = {each.name for each in fields(Description)}
    stored.setdefault("thresholds", [])  # exports had none before
    missing, unknown = sorted(names - stored.keys()), sorted(stored.keys() - names)
    _check(not missing, f"{', '.join(missing)} missing")
    _check(not unknown, f"unknown: {', '.join(unknown)}")
    for name in ("variant", "activation", "fingerprint"):
        _check(isinstance(stored[name], str), f"{name} is no text")
    _check(stored["activation"] in ("softmax", "sigmoid"), "activation is unknown")
    _check(_is_size(stored["image_size"]), "image_size is no height and width")
    _check(
        isinstance(stored["class_names"], list)
        and all(isinstance(name, str) for name in stored["class_names"]),
        "class_names is no list of texts",
    )
    thresholds, classes = stored["thresholds"], len(stored["class_names"])
    _check(
        isinstance(thresholds, list)
        and all(_is_number(one) and 0 <= one <= 1 for one in thresholds)
        and len(thresholds) in (0, classes),
        "thresholds is no list of a probability for each class",
    )
    for name in ("preprocess", "parity", "files", "origin"):
        _check(isinstance(stored[name], dict), f"{name} is no object")
    _check_preprocess(stored["preprocess"])
    _check(all(map(_is_number, stored["parity"].values())), "parity holds no numbers")
    _check_files(stored["files"])
    return Description(
        **stored
        | {
            "image_size": tuple(stored["image_size"]),
            "class_names": tuple(stored["class_names"]),
            "thresholds": tuple(thresholds),
        }
    )


def _check(is_so: bool, problem: str) -> None:
    if not is_so:
        raise ValueError(problem)


def _is_size(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 0 < side < 1 << 16 for side in value)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_preprocess(preprocess: Mapping[str, object]) -> None:
    resize = preprocess.get("eval_resize")
    _check(
        preprocess.keys() - {"interpolation"} == {"image_size", "eval_resize"}
        and preprocess.get("interpolation", "bilinear") in ("bilinear", "bicubic"),
        "preprocess is unknown",
    )
    _check(_is_size(preprocess["image_size"]), "preprocess.image_size is no height and width")
    _check(
        resize is None or (type(resize) is int and 0 < resize < 1 << 16),
        "preprocess.eval_resize is no side in pixels",
    )


def _check_files(files: Mapping[str, object]) -> None:
    absent = [name for name in REQUIRED if name not in files]
    _check(not absent, f"files has no digest of {', '.join(absent)}")
    for name, digest in files.items():
        path = PurePosixPath(name)
        inside = not path.is_absolute() and ".." not in path.parts and "\0" not in name
        _check(inside, f"files names {name!r}, outside of the folder")
        _check(
            isinstance(digest, str) and bool(SHA_256.fullmatch(digest)),
            f"files has no SHA-256 of {name!r}",
        )


def saved_model_files(folder: epath.Path) -> list[str]:
    """All files that TensorFlow may read, relative to `folder`, in sorted order."""
    found = [GRAPH_FILE] if (folder / GRAPH_FILE).is_file() else []
    for name in FOLDERS:
        if (folder / name).is_dir():
            found += [f"{name}/{path.name}" for path in (folder / name).iterdir()]
    return sorted(found)


def file_digests(folder: epath.Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each file, "missing" where there is none."""
    return {name: _digest(folder / name) for name in names}


def model_fingerprint(
    weights: Mapping[str, NDArray[np.generic]], settings: Mapping[str, object]
) -> str:
    """SHA-256 of what a model computes: the same however often, and by which version, it is saved.

    Args:
        weights: by path.
        settings: all else that its answers follow from, as JSON holds it.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(weights):
        weight = np.ascontiguousarray(weights[path])
        digest.update(f"\n{path} {weight.dtype.str} {weight.shape}\n".encode())
        digest.update(weight.tobytes())
    return digest.hexdigest()


def _digest(path: epath.Path) -> str:
    if not path.is_file():
        return "missing"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
