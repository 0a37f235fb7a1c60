"""Memory of what a backward pass needs of the forward pass, by formula.

Counted are the tensors that TensorFlow keeps without XLA; a test holds the formula against the
graph that TensorFlow makes of forward and backward pass. XLA computes some again within its
fusions. For the whole step of Ti/16 with 4 blocks at 224 pixels and 8 images it allocated, on a
CPU, 0.78 of what `estimate` expects in float32, and 1.12 in bfloat16, which it widens there.

For one image and one encoder block of T tokens of width D, MLP width M and H heads, with s bytes a
number in the compute type (2 or 4), and norms and softmax in float32:

    T·D · (6s, and 8 more where s is 2)    norms, query, key, value, attention's output
    T·M · 4s                               the MLP's hidden layer, and its GELU
    H·T·K · (4, and 2 more where s is 2)   softmax over K keys; K = T, or a row or a column
    T · 24                                 statistics of the norms

A last block that is computed for the class token alone keeps T·D · (5s, and 4 more where s is 2).

Dropout keeps 2s for each number that it may drop, LayerScale 4s·T·D, QK-norm 5s·T·D. With
rematerialization a block keeps its input alone, s·T·D, and one block at a time is computed again.

In a ResNet it is the group norms that keep: for each number that they read, 3 numbers before a BiT
convolution (the norm's input, the ReLU's output and its padded copy) and 2 in a hybrid's stem; the
norm's input counts 4 bytes whatever the compute type.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from vit_keras.bit_resnet import BiTResNet
from vit_keras.layers.preactivation_unit import PreactivationUnit
from vit_keras.layers.resnet_stem import BOTTLENECK, ResidualUnit, ResNetStem
from vit_keras.masked_autoencoder import MLP_RATIO, MaskedAutoencoder
from vit_keras.masked_patches import MaskedPatchModel
from vit_keras.vision_transformer import VisionTransformer

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Activations:
    """Bytes for each image of a microbatch.

    Attributes:
        kept: from the forward until the backward pass.
        working: of the largest part of the model: its gradients while it is passed backwards, and
            what is computed again of it.
    """

    kept: int
    working: int


def activations(model: keras.Model, compute_bytes: int, remat: bool | None = None) -> Activations:
    """Estimate the activations of a model at its image size.

    Args:
        model: of `vit_keras`; it may have been made with shapes alone.
        compute_bytes: bytes of a number in the compute type, 2 or 4.
        remat: whether encoder blocks are computed again; None: as in `model`.

    Raises:
        ValueError: no model of `vit_keras`.
    """
    if isinstance(model, MaskedPatchModel):
        return activations(model.vit, compute_bytes, remat)
    if isinstance(model, MaskedAutoencoder):
        return _autoencoder(model, compute_bytes, remat)
    if isinstance(model, VisionTransformer):
        return _vit(model, compute_bytes, model.remat if remat is None else remat)
    if isinstance(model, BiTResNet):
        return _bit(model, compute_bytes)
    raise ValueError(f"{type(model).__name__} is no model of vit_keras.")


def _autoencoder(model: MaskedAutoencoder, s: int, remat: bool | None) -> Activations:
    vit, width = model.vit, model.decoder_width
    tokens = model.num_patches + vit.num_prefix_tokens
    encoder = _vit(vit, s, vit.remat if remat is None else remat, hidden=model.num_hidden)
    block = _block(width, width * MLP_RATIO, model.decoder_heads, tokens, tokens, s)
    ends = tokens * (vit.width + width) * s + model.num_patches * 4 * (width + 2 * model.num_values)
    return Activations(
        encoder.kept + model.decoder_layers * block + ends, max(encoder.working, block)
    )


def _vit(model: VisionTransformer, s: int, remat: bool, hidden: int = 0) -> Activations:
    """Estimate it; the blocks do not see `hidden` patches."""
    rows, columns = model.grid_size
    tokens = rows * columns + model.num_prefix_tokens - hidden
    width = model.width
    if model.axial:
        keys, blocks = [columns, rows], 2 * model.num_layers
    else:
        keys, blocks = [tokens], model.num_layers
    block = sum(_encoder_block(model, tokens, count, s) for count in keys) // len(keys)
    if model.stem is None:
        start = 3 * math.prod(model.image_size) * s  # the image, as patches
    else:
        start = _stem(model.stem, (None, *model.image_size, 3), s)
    if model.dropout_rate:
        start += 2 * s * tokens * width
    head = {"gap": 2, "map": 4}.get(model.classifier, 0) * tokens * width * s
    if remat:
        return Activations(start + model.num_layers * tokens * width * s + head, 2 * block)
    kept = blocks * block
    if model.last_block_only is not None:
        kept += tokens * width * (5 * s + 4 * (s == 2)) - block
    return Activations(start + kept + head, block)


def _encoder_block(model: VisionTransformer, tokens: int, keys: int, s: int) -> int:
    tokens_width, hidden = tokens * model.width, tokens * model.mlp_dim
    kept = _block(model.width, model.mlp_dim, model.num_heads, tokens, keys, s)
    if model.layer_scale_init is not None:
        kept += 4 * s * tokens_width
    if model.qk_norm:
        kept += 5 * s * tokens_width
    if model.dropout_rate:
        kept += 2 * s * (2 * tokens_width + hidden)
    return kept


def _block(width: int, mlp_dim: int, heads: int, tokens: int, keys: int, s: int) -> int:
    """Of a block without dropout and the like."""
    half = s == 2
    kept = tokens * width * (6 * s + 8 * half)
    kept += 4 * s * tokens * mlp_dim
    kept += heads * tokens * keys * (4 + 2 * half)
    return kept + 24 * tokens


def _stem(stem: ResNetStem, shape: Shape, s: int) -> int:
    """A hybrid's stem: for each norm its input in float32, and the ReLU's output."""
    root = stem.conv_root.compute_output_shape(shape)
    kept = _numbers(root) * (4 + s) + _numbers(shape) * s
    shape = _halved(root)
    kept += _numbers(shape) * s
    for unit in stem.residual_units:
        inner, out = _unit_shapes(unit, shape)
        kept += sum(map(_numbers, inner)) * (4 + s) + _numbers(out) * (4 + s)
        kept += _numbers(out) * 4 * unit.project
        shape = out
    return kept + _numbers(shape) * s  # what the patch embedding reads


def _bit(model: BiTResNet, s: int) -> Activations:
    image = (None, *model.image_size, 3)
    root = model.root_conv.compute_output_shape(image)
    shape = _halved(root)
    kept = (_numbers(image) + _numbers(root) + _numbers(shape)) * s  # two of them padded
    largest = 0
    for unit in model.residual_units:
        inner, out = _unit_shapes(unit, shape)
        unit_bytes = (_numbers(shape) + sum(map(_numbers, inner))) * (4 + 2 * s)
        unit_bytes += _numbers(shape) * s * unit.project
        kept += unit_bytes
        largest = max(largest, unit_bytes)
        shape = out
    kept += _numbers(shape) * (4 + s)
    return Activations(kept, largest)


def _unit_shapes(
    unit: ResidualUnit | PreactivationUnit, shape: Shape
) -> tuple[Sequence[Shape], Shape]:
    """Shapes that the second and third convolution read, and that of the output."""
    out = unit.compute_output_shape(shape)
    first = (*shape[:3], unit.channels)
    second = (*out[:3], out[3] // BOTTLENECK)  # type: ignore[operator]
    return (first, second), out


def _numbers(shape: Shape) -> int:
    return math.prod(side for side in shape[1:] if side is not None)


def _halved(shape: Shape) -> Shape:
    return (shape[0], *(None if side is None else -(-side // 2) for side in shape[1:3]), shape[3])
