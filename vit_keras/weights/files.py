"""Reading and writing weight files: which layout, what is missing, what does not fit."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.bit_resnet import BiTResNet
from vit_keras.hub.named_file import local_file
from vit_keras.image_classifier import ImageClassifier
from vit_keras.layers.preactivation_unit import CONV_EPSILON
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights import hugging_face, timm
from vit_keras.weights.bit_npz import ROOT, bit_rules, normalize_bit
from vit_keras.weights.config_files import Told, beside_of, metadata_of, read_told
from vit_keras.weights.official import (
    check_official,
    is_big_vision,
    move_class_position,
    normalize_official,
    official_rules,
)
from vit_keras.weights.rules import Arrays, Rule
from vit_keras.weights.torch_layout import Names, move_positions

LAYOUTS = ("official", "big_vision", "bit", "timm", "hugging_face")

_MOST_NAMED = 12  # of each kind, in the message about a mismatch


@dataclass(frozen=True)
class Checkpoint:
    """A file that was read.

    Attributes:
        source: what to call it in messages.
        layout: one of `LAYOUTS`.
        arrays: in the one form that the layout's rules have.
        told: what is known of the model besides.
    """

    source: Path
    layout: str
    arrays: Arrays
    told: Told


def save_weights(model: ImageClassifier, path: str | os.PathLike[str], layout: str) -> None:
    """Write a model's weights where another project can read them.

    Beside a `.safetensors` file goes what the other project needs to know of the model: config.json
    (and preprocessor_config.json) beside model.safetensors, NAME.json beside NAME.safetensors. The
    file itself says all that this package needs.

    Args:
        model: a ViT, hybrid or BiT ResNet.
        path: ends in `.npz` for "official", "big_vision" (google-research/big_vision's names) and
            "bit" (google-research/big_transfer's), in `.safetensors` for "timm" and
            "hugging_face".
        layout: one of `LAYOUTS`.

    Raises:
        ValueError: the layout has no place for some of the model's weights or options, or the path
            has the wrong ending.
        ModuleNotFoundError: `safetensors` is not installed.
    """
    path = Path(path)
    rules = rules_for(model, layout)
    assert isinstance(model, (VisionTransformer, BiTResNet))
    if isinstance(model, VisionTransformer) and layout in ("official", "big_vision"):
        check_official(model)
    arrays: Arrays = {}
    for rule, weight in zip(rules, _values(model, rules), strict=True):
        for key, array in zip(rule.keys, rule.write(weight), strict=True):
            arrays[key] = array
    finish = {"timm": timm.finish_timm, "hugging_face": hugging_face.finish_hugging_face}
    if layout in finish:
        arrays = finish[layout](arrays, model)
    beside = beside_of(model, path, layout)
    arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    write_arrays(arrays, path, layout, metadata_of(model))
    for name, config in beside.items():
        name.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_weights(
    model: ImageClassifier, path: str | os.PathLike[str], *, new_head: bool = False
) -> None:
    """Read a file into a model of the same architecture and image size.

    The layout is told by the names in the file. A class token with or without a position of its
    own is fitted to the model exactly. See `from_pretrained` for another image size, and for a
    model that has the file's options: where the file tells that they differ, it is refused.

    Args:
        model: a ViT, hybrid or BiT ResNet. Nothing is changed unless the whole file fits.
        path: `.npz` or `.safetensors` file.
        new_head: leave the model's own head as it is and the file's aside.

    Raises:
        ValueError: an unknown layout, arrays that are missing, surplus or of the wrong shape (the
            message names each), or an option of the model with which the file's weights are
            another function.
    """
    checkpoint = read_checkpoint(path)
    _check_told(model, checkpoint)
    assign(model, weights_from(model, checkpoint, new_head=new_head))


# What changes the function of the same arrays.
_FUNCTIONAL = (
    *("num_heads", "activation", "norm_epsilon", "pool_prefix", "rope", "rope_temperature"),
    *("rope_grid", "residual_post_norm", "stem_numerics", "conv_epsilon"),
)


def _check_told(model: ImageClassifier, checkpoint: Checkpoint) -> None:
    has = model.get_config()
    told: dict[str, Any] = dict(checkpoint.told.arguments)
    if checkpoint.layout in ("official", "big_vision"):
        told = {"activation": "gelu_tanh", "norm_epsilon": 1e-6}
    if checkpoint.layout == "bit":
        told = {"conv_epsilon": CONV_EPSILON}
    rope = told.get("rope")
    for option in _FUNCTIONAL:
        if option not in told or option not in has or has[option] == told[option]:
            continue
        if (option == "stem_numerics" and has["stem_units"] is None) or (
            option in ("rope_temperature", "rope_grid") and rope is None
        ):
            continue
        if option == "activation" and has["gated_mlp"] and not checkpoint.told.complete:
            continue  # a config.json may name the activation of its ungated kin
        raise ValueError(
            f"{checkpoint.source} was made with {option} {told[option]!r}, and {model.name} has "
            f"{has[option]!r}: the same weights would be another function. from_pretrained makes "
            "the model that it was made for."
        )


def weights_from(
    model: ImageClassifier, checkpoint: Checkpoint, *, new_head: bool = False
) -> Arrays:
    """The file's arrays as weights by path, checked against the model's config.

    `model` may be one whose weights have shapes only. See `load_weights` for the rest.
    """
    layout, arrays = checkpoint.layout, checkpoint.arrays
    names = _names(layout, arrays) if isinstance(model, VisionTransformer) else None
    rules = rules_for(model, layout, names)
    if isinstance(model, VisionTransformer):
        if names is None:
            arrays = move_class_position(
                arrays, layout == "big_vision", model.class_token_positioned
            )
        else:
            arrays = move_positions(arrays, names, model)
    if new_head:
        head = {key for rule in rules if rule.path.startswith("head/") for key in rule.keys}
        head |= {key for key in arrays if _is_head(key)}
        arrays = {key: array for key, array in arrays.items() if key not in head}
        rules = [rule for rule in rules if not rule.path.startswith("head/")]
    _check(model, rules, arrays, checkpoint.source)
    return {rule.path: rule.read([arrays[key] for key in rule.keys]) for rule in rules}


def _names(layout: str, arrays: Arrays) -> Names | None:
    if layout == "timm":
        return timm.NAMES
    return hugging_face.names_for(arrays) if layout == "hugging_face" else None


_HEADS = (
    *("head/", "pre_logits/", "resnet/head/", "head.", "head_dist.", "pre_logits."),
    *("classifier.", "cls_classifier.", "distillation_classifier.", "visual_projection."),
)


def _is_head(key: str) -> bool:
    # SigLIP's pooling is called head too, and is none.
    pooling = ("head.probe", "head.attention.", "head.layernorm.", "head.mlp.")
    return key.startswith((*_HEADS, "pooler.")) and not key.startswith(pooling)


def assign(model: ImageClassifier, weights: Arrays) -> None:
    """Set a model's weights from arrays by path, without the model's name."""
    by_path = weights_by_path(model)
    for path, array in weights.items():
        by_path[path].assign(array)


def weights_by_path(model: ImageClassifier) -> dict[str, Any]:
    """A model's weights by path, without the model's name."""
    return {weight.path.split("/", 1)[1]: weight for weight in model.trainable_weights}


def rules_for(model: ImageClassifier, layout: str, names: Names | None = None) -> list[Rule]:
    """A layout's rules for a model.

    Args:
        model: a ViT, hybrid or BiT ResNet.
        layout: one of `LAYOUTS`.
        names: of a file that was read, of one of Hugging Face's families; None: those that the
            model is written by.

    Raises:
        ValueError: the layout is unknown, is not for this architecture, or has no place for some
            of the model's weights.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"Unknown layout {layout!r}: one of {', '.join(LAYOUTS)}.")
    if isinstance(model, VisionTransformer) and not model.axial and layout != "bit":
        rules = {
            "official": lambda: official_rules(model),
            "big_vision": lambda: official_rules(model, big_vision=True),
            "timm": lambda: timm.timm_rules(model),
            "hugging_face": lambda: hugging_face.hugging_face_rules(model, names),
        }[layout]()
    elif isinstance(model, BiTResNet) and layout in ("bit", "timm", "hugging_face"):
        rules = {
            "bit": bit_rules,
            "timm": timm.timm_rules,
            "hugging_face": hugging_face.hugging_face_rules,
        }[layout](model)
    else:
        raise ValueError(f"Layout {layout!r} is not for {model.name} ({type(model).__name__}).")
    placed = {rule.path for rule in rules}
    left = [path for path in weights_by_path(model) if path not in placed]
    if left:
        raise ValueError(f"Layout {layout!r} has no place for {_listed(left)} of {model.name}.")
    return rules


def _values(model: ImageClassifier, rules: list[Rule]) -> list[np.ndarray]:
    by_path = weights_by_path(model)
    return [by_path[rule.path].numpy() for rule in rules]


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


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a file, which may be a name as for `from_pretrained`, and tell its layout by its names.

    Raises:
        ValueError: another kind of file, or names of no known layout.
        FileNotFoundError: no such file.
    """
    path = local_file(path)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise ValueError(f"{path}: weights are read from .npz and .safetensors files alone.")
    try:
        arrays, metadata = readers[path.suffix](path)
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    except Exception as error:  # each format has errors of its own for a damaged file
        raise ValueError(f"{path} is no readable {path.suffix} file: {error}") from error
    arrays = {key: _float32(array) for key, array in arrays.items()}
    try:
        layout, arrays = _normalize(arrays, path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Checkpoint(path, layout, arrays, read_told(path, layout, metadata))


def _read_npz(path: Path) -> tuple[Arrays, None]:
    if not zipfile.is_zipfile(path):  # NumPy would suggest to trust it as a pickle
        raise ValueError("it was cut short, or is no .npz file at all; get it once more")
    # opened here: of a damaged file NumPy does not close what it opened
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}, None


def _read_safetensors(path: Path) -> tuple[Arrays, dict[str, str] | None]:
    import ml_dtypes  # noqa: F401 - of Keras' own requirements; gives NumPy bfloat16

    _safetensors()
    import safetensors

    with safetensors.safe_open(str(path), framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def _float32(array: np.ndarray) -> np.ndarray:
    """Half precision as float32. NumPy reads bfloat16 from .npz as two bytes of no meaning."""
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:
        if array.dtype.name == "void16":
            array = array.view(np.uint16)
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _normalize(arrays: Arrays, source: Path) -> tuple[str, Arrays]:
    bit = normalize_bit(arrays)
    if ROOT in bit:
        return "bit", bit
    if hugging_face.is_hugging_face(arrays):
        return "hugging_face", hugging_face.normalize_hugging_face(arrays, source)
    if timm.is_timm(arrays):
        return "timm", timm.normalize_timm(arrays)
    official = normalize_official(arrays)
    if "embedding/kernel" in official:
        return "big_vision" if is_big_vision(official) else "official", official
    some = _listed(list(arrays)[:_MOST_NAMED])
    raise ValueError(f"the file is in no known layout ({', '.join(LAYOUTS)}); it holds {some}.")


def write_arrays(arrays: Arrays, path: Path, layout: str, metadata: dict[str, str]) -> None:
    """Write arrays, and metadata if it can hold them, to the kind of file a layout is kept in."""
    suffix = ".safetensors" if layout in ("timm", "hugging_face") else ".npz"
    if path.suffix != suffix:
        raise ValueError(f"{path}: layout {layout!r} is kept in {suffix} files.")
    if suffix == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
    else:
        _safetensors().save_file(arrays, str(path), metadata=metadata)


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            ".safetensors files need the package safetensors: pip install safetensors"
        ) from error
    return safetensors.numpy
