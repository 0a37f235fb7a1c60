"""Reading and writing weight files: which layout, what is missing, what does not fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from vit_keras.bit_resnet import BiTResNet
from vit_keras.image_classifier import ImageClassifier
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.bit_npz import bit_rules
from vit_keras.weights.hugging_face import hugging_face_rules, normalise_hugging_face
from vit_keras.weights.official import (
    is_big_vision,
    move_class_position,
    normalise_official,
    official_rules,
)
from vit_keras.weights.rules import Arrays, Rule
from vit_keras.weights.timm import timm_rules

LAYOUTS = ("official", "big_vision", "bit", "timm", "hugging_face")

_MOST_NAMED = 12  # of each kind, in the message about a mismatch


def save_weights(model: ImageClassifier, path: str | os.PathLike[str], layout: str) -> None:
    """Write a model's weights where another project can read them.

    Args:
        model: a ViT, hybrid or BiT ResNet.
        path: ends in `.npz` for "official", "big_vision" (google-research/big_vision's names) and
            "bit" (google-research/big_transfer's), in `.safetensors` for "timm" and
            "hugging_face".
        layout: one of `LAYOUTS`.

    Raises:
        ValueError: the layout has no place for some of the model's weights, or the path has the
            wrong ending.
        ModuleNotFoundError: `safetensors` is not installed.
    """
    rules = rules_for(model, layout)
    arrays: Arrays = {}
    for rule, weight in zip(rules, _values(model, rules), strict=True):
        for key, array in zip(rule.keys, rule.write(weight), strict=True):
            arrays[key] = np.ascontiguousarray(array)
    write_arrays(arrays, path, layout)


def load_weights(
    model: ImageClassifier, path: str | os.PathLike[str], *, new_head: bool = False
) -> None:
    """Read a file into a model of the same architecture and image size.

    The layout is told by the names in the file. A class token with or without a position of its
    own is fitted to the model exactly. See `from_pretrained` for another image size.

    Args:
        model: a ViT, hybrid or BiT ResNet. Nothing is changed unless the whole file fits.
        path: `.npz` or `.safetensors` file.
        new_head: leave the model's own head as it is and the file's aside.

    Raises:
        ValueError: an unknown layout, or arrays that are missing, surplus or of the wrong shape:
            the message names each.
    """
    layout, arrays = read_arrays(path)
    assign(model, weights_from(model, layout, arrays, path, new_head=new_head))


def weights_from(
    model: ImageClassifier,
    layout: str,
    arrays: Arrays,
    source: object,
    *,
    new_head: bool = False,
) -> Arrays:
    """The file's arrays as weights by path, checked against the model's config.

    `model` may be one whose weights have shapes only. See `load_weights` for the rest.
    """
    rules = rules_for(model, layout)
    if isinstance(model, VisionTransformer) and layout in ("official", "big_vision"):
        arrays = move_class_position(arrays, layout == "big_vision", model.class_token_positioned)
    if new_head:
        head = {key for rule in rules if rule.path.startswith("head/") for key in rule.keys}
        head |= {key for key in arrays if _is_head(key)}
        arrays = {key: array for key, array in arrays.items() if key not in head}
        rules = [rule for rule in rules if not rule.path.startswith("head/")]
    _check(model, rules, arrays, source)
    return {rule.path: rule.read([arrays[key] for key in rule.keys]) for rule in rules}


def _is_head(key: str) -> bool:
    heads = ("head/", "pre_logits/", "resnet/head/", "head.", "pre_logits.", "classifier.")
    return key.startswith((*heads, "vit.pooler."))


def assign(model: ImageClassifier, weights: Arrays) -> None:
    """Set a model's weights from arrays by path, without the model's name."""
    by_path = weights_by_path(model)
    for path, array in weights.items():
        by_path[path].assign(array)


def weights_by_path(model: ImageClassifier) -> dict[str, Any]:
    """A model's weights by path, without the model's name."""
    return {weight.path.split("/", 1)[1]: weight for weight in model.trainable_weights}


def rules_for(model: ImageClassifier, layout: str) -> list[Rule]:
    """A layout's rules for a model.

    Raises:
        ValueError: the layout is unknown, is not for this architecture, or has no place for some
            of the model's weights.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"Unknown layout {layout!r}: one of {', '.join(LAYOUTS)}.")
    if isinstance(model, VisionTransformer) and not model.axial and layout != "bit":
        rules = {
            "official": official_rules,
            "big_vision": lambda m: official_rules(m, big_vision=True),
            "timm": timm_rules,
            "hugging_face": hugging_face_rules,
        }[layout](model)
    elif isinstance(model, BiTResNet) and layout in ("bit", "timm", "hugging_face"):
        rules = {"bit": bit_rules, "timm": timm_rules, "hugging_face": hugging_face_rules}[layout](
            model
        )
    else:
        raise ValueError(f"Layout {layout!r} is not for {model.name} ({type(model).__name__}).")
    placed = {rule.path for rule in rules}
    left = [path for path in weights_by_path(model) if path not in placed]
    if left:
        raise ValueError(f"Layout {layout!r} has no place for {_listed(left)} of {model.name}.")
    return rules


def _values(model: ImageClassifier, rules: list[Rule]) -> list[np.ndarray]:
    by_path = weights_by_path(model)
    return [ops.convert_to_numpy(by_path[rule.path]) for rule in rules]


def _check(model: ImageClassifier, rules: list[Rule], arrays: Arrays, source: object) -> None:
    by_path = weights_by_path(model)
    expected: dict[str, tuple[int, ...]] = {}
    for rule in rules:
        # Strides of 0: the shape of the weight without its memory.
        blank = np.broadcast_to(np.float32(0), tuple(by_path[rule.path].shape))
        for key, array in zip(rule.keys, rule.write(blank), strict=True):
            expected[key] = array.shape
    problems = []
    missing = [f"{key} {shape}" for key, shape in expected.items() if key not in arrays]
    surplus = [f"{key} {a.shape}" for key, a in arrays.items() if key not in expected]
    wrong = [
        f"{key} {arrays[key].shape} instead of {shape}"
        for key, shape in expected.items()
        if key in arrays and arrays[key].shape != shape
    ]
    for kind, names in (("missing", missing), ("surplus", surplus), ("wrong shape", wrong)):
        if names:
            problems.append(f"{kind}: {_listed(names)}")
    if problems:
        raise ValueError(f"{source} does not fit {model.name}. {'; '.join(problems)}.")


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names))


def read_arrays(path: str | os.PathLike[str]) -> tuple[str, Arrays]:
    """Read a file and tell its layout by its names.

    Returns:
        The layout, and the arrays under the names that layout's rules have.

    Raises:
        ValueError: another kind of file, or names of no known layout.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    readers = {".npz": _read_npz, ".safetensors": lambda p: _safetensors().load_file(str(p))}
    if path.suffix not in readers:
        raise ValueError(f"{path}: weights are read from .npz and .safetensors files alone.")
    try:
        arrays = readers[path.suffix](path)
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    except Exception as error:  # each format has errors of its own for a damaged file
        raise ValueError(f"{path} is no readable {path.suffix} file: {error}") from error
    return _normalise(arrays, path)


def _read_npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _normalise(arrays: Arrays, source: object) -> tuple[str, Arrays]:
    if "resnet/root_block/standardized_conv2d/kernel" in arrays:
        return "bit", arrays
    if any(key.startswith(("vit.", "bit.", "embeddings.cls_token")) for key in arrays):
        return "hugging_face", normalise_hugging_face(arrays)
    if "patch_embed.proj.weight" in arrays or "stem.conv.weight" in arrays:
        return "timm", arrays
    official = normalise_official(arrays)
    if "embedding/kernel" in official:
        return "big_vision" if is_big_vision(official) else "official", official
    some = _listed(list(arrays)[:_MOST_NAMED])
    raise ValueError(f"{source} is in no known layout ({', '.join(LAYOUTS)}); it holds {some}.")


def write_arrays(arrays: Arrays, path: str | os.PathLike[str], layout: str) -> None:
    """Write arrays to the kind of file that the layout is kept in."""
    path = Path(path)
    suffix = ".safetensors" if layout in ("timm", "hugging_face") else ".npz"
    if path.suffix != suffix:
        raise ValueError(f"{path}: layout {layout!r} is kept in {suffix} files.")
    if suffix == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
    else:
        _safetensors().save_file(arrays, str(path))


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            ".safetensors files need the package safetensors: pip install safetensors"
        ) from error
    return safetensors.numpy
