"""A trained model at another image size, with another head."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Literal, TypeVar

import keras
import numpy as np
from keras import ops

from vit_keras.hub.named_file import local_file
from vit_keras.image_classifier import ImageClassifier, as_pair
from vit_keras.preprocessing import Preprocessing
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.files import (
    Checkpoint,
    assign,
    read_checkpoint,
    weights_by_path,
    weights_from,
)
from vit_keras.weights.infer import Asked, infer_model
from vit_keras.weights.resample import Method, resample_grid, resample_line, resample_patches
from vit_keras.weights.rules import Arrays

Model = TypeVar("Model", bound=ImageClassifier)

# As each layout's own code resamples position embeddings.
_METHODS: dict[str, Method] = {"timm": "bicubic_antialias", "hugging_face": "bicubic"}

# Arguments that are the target's, not the file's.
_OF_TARGET = ("representation_size", "patch_size", "channels")

# What the images come in by, of a hybrid, a ResNet and a ViT: the first that there is.
_FIRST_KERNELS = ("stem/conv_root/kernel", "root_conv/kernel", "patch_embedding/kernel")


def from_pretrained(
    path: str | os.PathLike[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    num_classes: int | Literal["keep"] | None = "keep",
    method: Method | None = None,
    grid: tuple[int, int] | None = None,
    **overrides: Any,
) -> ImageClassifier:
    """Make a model from a checkpoint of the literature, which computes what its own code computes.

    Sizes are read from the arrays, and what they do not tell (heads, activation, epsilon, what the
    pixels are to be) from the config.json beside them, as timm and Hugging Face write it, or from
    what `save_weights` has put into the file. What is told nowhere must be given: nothing that
    changes the function is guessed.

    Args:
        path: a file, `.npz` (official, AugReg, big_vision, hybrid, BiT), `.safetensors` (timm,
            Hugging Face) or `.keras` (of this package), or a folder with one; or a name:
            "hf://timm/vit_base_patch16_224.augreg_in21k", "hf://OWNER/NAME@REVISION",
            "vit:ViT-B_16", "augreg:…", "bit:BiT-M-R50x1", "gs://…", "https://…".
            `vit_keras.list_pretrained` gives names; downloads are kept (see
            `vit_keras.hub.named_file.local_file`).
        image_size: height and width in pixels; one number: both. The position embedding is
            resampled. None: the checkpoint's own, which one without learned positions does not
            tell.
        num_classes: "keep": the checkpoint's head and pre-logits. A number: a new head, zeros, and
            no pre-logits layer, as the paper fine-tunes (section 3.1), unless `representation_size`
            asks for it. None: no head.
        method: how the position embedding is resampled; see `resample_grid`. None: as the code that
            the layout belongs to does it.
        grid: rows and columns of patches in the file, where they are no square and nothing beside
            it tells.
        **overrides: arguments of the model that are told nowhere, or that are to differ
            (`dropout_rate`, `dtype`, ...). Of a `.safetensors` file without config.json:
            `num_heads`, `activation` and `norm_epsilon`. Where the file holds no position
            embedding: `position_embedding`, "sincos_2d" or "none". `patch_size`: the patch
            embedding is resampled (FlexiViT). `channels`: see `adapt_channels`.

    Returns:
        A built model with the checkpoint's weights.

    Raises:
        ValueError: a file of no known layout, arrays that do not fit together, a model that is not
            of this package, or a choice that is told nowhere.
        OSError: there is nothing of that name, it is private, there is no network or no space, or
            another content came than was to come.

    Example:
        model = vit_keras.from_pretrained("vit:ViT-B_16", image_size=384, num_classes=100)
    """
    path = local_file(path)
    if path.suffix == ".keras":
        source = keras.saving.load_model(path, compile=False)
        if not isinstance(source, ImageClassifier):
            raise ValueError(f"{path} holds a {type(source).__name__}, no model of this package.")
        return adapt_model(
            source,
            image_size=image_size,
            num_classes=num_classes,
            method=method or "bilinear",
            **overrides,
        )
    checkpoint = read_checkpoint(path)
    of_target = {name: overrides.pop(name) for name in _OF_TARGET if name in overrides}
    model_class, config = infer_model(checkpoint, Asked(overrides, image_size, grid))
    with keras.StatelessScope(initialize_variables=False):  # shapes only
        source = model_class(**config)
    weights = weights_from(source, checkpoint)
    return _adapt(
        source, weights, image_size, num_classes, method or _method(checkpoint), of_target
    )


def _method(checkpoint: Checkpoint) -> Method:
    if checkpoint.told.method is not None:
        return checkpoint.told.method
    # The one of Hugging Face's models that widens its filter.
    if "embeddings.register_tokens" in checkpoint.arrays:
        return "bicubic_antialias"
    return _METHODS.get(checkpoint.layout, "bilinear")


def adapt_model(
    model: Model,
    *,
    image_size: int | tuple[int, int] | None = None,
    num_classes: int | Literal["keep"] | None = "keep",
    method: Method = "bilinear",
    **overrides: Any,
) -> Model:
    """Copy a model for another image size or another head; the arguments are `from_pretrained`'s.

    Args:
        model: what to copy; it stays as it is.
        image_size: new height and width in pixels; None: as before.
        num_classes: "keep", a number (a new head of zeros, no pre-logits layer), or None (no head).
        method: how position embeddings are resampled.
        **overrides: other arguments of the model to change, such as `dropout_rate`; with another
            `patch_size` the patch embedding is resampled (FlexiViT), with other `channels` it is
            what `adapt_channels` makes of it, and mean and deviation of the pixels are their
            average (one channel) or repeated, unless `preprocessing` is given.

    Raises:
        ValueError: relative position embeddings at another image size: no resampling is defined.
    """
    weights = {path: weight.numpy() for path, weight in weights_by_path(model).items()}
    return _adapt(model, weights, image_size, num_classes, method, overrides)


def _adapt(
    source: Model,
    weights: Arrays,
    image_size: int | tuple[int, int] | None,
    num_classes: int | Literal["keep"] | None,
    method: Method,
    overrides: dict[str, Any],
) -> Model:
    config = {**source.get_config(), **overrides}
    if image_size is not None:
        config["image_size"] = as_pair(image_size)
    if num_classes != "keep":
        config["num_classes"] = num_classes
        weights = {p: w for p, w in weights.items() if not p.startswith("head/")}
        if "class_names" not in overrides:
            config["class_names"] = None
        # A new head comes without the hidden layer of the old one, unless that is asked for.
        if num_classes is not None and config.get("representation_size") is not None:
            config["representation_size"] = overrides.get("representation_size")
            if config["representation_size"] is None:
                weights = {p: w for p, w in weights.items() if not p.startswith("pre_logits/")}
    channels = config.get("channels", 3)
    if channels != source.channels:
        if "preprocessing" not in overrides:
            config["preprocessing"] = _preprocessing(source, channels)
        first = next(path for path in _FIRST_KERNELS if path in weights)
        weights = {**weights, first: adapt_channels(weights[first], channels)}
    target: Model = type(source).from_config(config)
    weights = resample_weights(source, target, weights, method)
    shapes = {path: tuple(weight.shape) for path, weight in weights_by_path(target).items()}
    strange = [p for p, w in weights.items() if shapes.get(p) != w.shape]
    if strange:
        raise ValueError(
            f"{', '.join(strange)} of {source.name} cannot be carried over to {target.image_size} "
            "pixels and the given options."
        )
    assign(target, weights)
    return target


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """The kernel that images meet first, for another number of channels, as timm makes it.

    For one channel the sum of all: a gray image gives what it gave as a colored one. For others
    those that there are, again and again, scaled so that the sum stays (timm's `adapt_input_conv`).

    Args:
        kernel: `[height, width, channels, features]`.
        channels: of the new one.

    Returns:
        `[height, width, channels, features]`, of the kernel's dtype.
    """
    before = kernel.shape[2]
    adapted: np.ndarray
    if channels == 1:
        adapted = kernel.sum(axis=2, keepdims=True, dtype=np.float32).astype(kernel.dtype)
        return adapted
    repeated = np.tile(kernel, (1, 1, -(-channels // before), 1))[:, :, :channels]
    adapted = (repeated * np.float32(before / channels)).astype(kernel.dtype)
    return adapted


def _preprocessing(source: ImageClassifier, channels: int) -> Preprocessing:
    """The pixels of another number of channels: averages for one, else repeated."""
    expected = source.preprocessing
    values = [expected.mean, expected.deviation]
    if channels == 1:
        values = [(float(np.mean(value)),) for value in values]
    else:
        values = [tuple(np.resize(value, channels).tolist()) for value in values]
    return replace(expected, mean=values[0], deviation=values[1])


def resample_weights(
    source: ImageClassifier, target: ImageClassifier, weights: Arrays, method: Method
) -> Arrays:
    """Weights of `source` by path, arrays or tensors, for the patches and grid of `target`.

    Raises:
        ValueError: relative position embeddings for another grid.
    """
    if not isinstance(source, VisionTransformer):
        return weights
    assert isinstance(target, VisionTransformer)
    (rows, columns), grid = source.grid_size, target.grid_size
    resampled = dict(weights)
    if source.patch_size != target.patch_size:
        # Patches keep their centers: PI-resize is not defined by what stays in the corners.
        of_patches = "bilinear_centers" if method == "bilinear" else method
        kernel, side = "patch_embedding/kernel", target.patch_size
        resampled[kernel] = resample_patches(weights[kernel], (side, side), of_patches)
    if (rows, columns) == grid:
        return resampled
    for path, weight in weights.items():
        layer, _, name = path.rpartition("/")
        if not layer.startswith("positions"):
            continue
        if name == "rows":
            resampled[path] = resample_line(weight, grid[0], method)
        elif name == "columns":
            resampled[path] = resample_line(weight, grid[1], method)
        elif source.position_embedding == "learned_1d":
            # What stands before the grid is the class token's, as the model's config says.
            before = source.num_prefix_tokens - source.num_unpositioned_tokens
            of_kind = np if isinstance(weight, np.ndarray) else ops
            table = of_kind.reshape(weight[0, before:], (rows, columns, -1))
            table = resample_grid(table, grid, method)
            table = of_kind.reshape(table, (1, grid[0] * grid[1], -1))
            resampled[path] = of_kind.concatenate([weight[:, :before], table], axis=1)
        else:
            raise ValueError(
                "relative position embeddings belong to a sequence length: no resampling is "
                f"defined from {rows}×{columns} to {grid[0]}×{grid[1]} patches."
            )
    return resampled
