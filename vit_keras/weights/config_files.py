"""What lies beside the arrays: a file's own metadata, config.json, preprocessor_config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.bit_resnet import BiTResNet
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.hugging_face_config import (
    read_hugging_face_config,
    read_preprocessor,
    write_hugging_face_config,
    write_preprocessor,
)
from vit_keras.weights.resample import Method
from vit_keras.weights.timm_config import read_timm_config, write_timm_config

METADATA = "vit_keras"  # the key under which a safetensors file of this package has its config
_PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True)
class Told:
    """What is known of a model besides its arrays.

    Attributes:
        source: where from; None: nothing is known.
        arguments: arguments of the model.
        complete: whether these are all, as the model that was written had them.
        method: how the model's own code resamples, where it is not as its layout's does.
    """

    source: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False
    method: Method | None = None


def read_told(path: Path, layout: str, metadata: Mapping[str, str] | None) -> Told:
    """What is known of the model in a file.

    Args:
        path: of the file with the arrays.
        layout: of these.
        metadata: of the safetensors file.

    Raises:
        ValueError: a file that is no JSON, or says something that no model of this package has.
    """
    if metadata is not None and METADATA in metadata:
        return Told(str(path), json.loads(metadata[METADATA]), complete=True)
    readers = {"timm": read_timm_config, "hugging_face": read_hugging_face_config}
    marks = {"timm": "architecture", "hugging_face": "model_type"}
    if layout not in readers:
        return Told()
    for beside in (path.with_suffix(".json"), path.with_name("config.json")):
        config = _read(beside)
        if config is None or marks[layout] not in config:
            continue
        try:
            arguments = readers[layout](config)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{beside}: {error}") from error
        if layout == "hugging_face":
            processor = _read(path.with_name(_PREPROCESSOR))
            if processor is not None:
                arguments["preprocessing"] = read_preprocessor(processor)
        # FlexiViT was trained with patches resized so; timm keeps to it by the name.
        flexible = layout == "timm" and str(config["architecture"]).startswith("flexivit")
        return Told(str(beside), arguments, method="bilinear_centers" if flexible else None)
    return Told()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    return config if isinstance(config, dict) else None


def metadata_of(model: VisionTransformer | BiTResNet) -> dict[str, str]:
    """What a safetensors file says of its model: all of its config but name and precision."""
    config = {k: v for k, v in model.get_config().items() if k not in ("name", "dtype")}
    return {"format": "pt", METADATA: json.dumps(config)}


def beside_of(
    model: VisionTransformer | BiTResNet, path: Path, layout: str
) -> dict[Path, dict[str, Any]]:
    """The JSON files to write beside a file of a layout, by their paths.

    A file by the Hub's name, model.safetensors, has a config.json; another, one of its own name.

    Raises:
        ValueError: the layout's own code has no place for one of the model's options.
    """
    on_hub = path.name == "model.safetensors"
    config = path.with_name("config.json") if on_hub else path.with_suffix(".json")
    if layout == "timm":
        return {config: write_timm_config(model)}
    if layout == "hugging_face":
        written = {config: write_hugging_face_config(model)}
        if on_hub:
            written[path.with_name(_PREPROCESSOR)] = write_preprocessor(model)
        return written
    return {}
