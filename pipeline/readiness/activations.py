"""Memory of what a backward pass needs of the forward pass, by formula.

TensorFlow without XLA, as on a CPU, keeps what its operations read; a test holds the formula
against the graph that TensorFlow makes of forward and backward pass. XLA fuses operations, and
computes again within a fusion what is cheap: the formulas for TPU and GPU are read from the
programs that their compilers make, and `benchmarks/memory_estimate.py` holds them against those.

For one image and one encoder block of T tokens of width D, MLP width M and H heads that look at K
keys (K = T, or a row or a column), with s bytes a number in the compute type (2 or 4):

                              CPU, without XLA     GPU           TPU
    T·D   norms, residuals,
          attention's output  6s, 8 more at s = 2  5s            5s
    T·D   query, key, value   (in the row above)   3s            3s
    T·M   MLP, GELU           4s                   3s            s
    H·T·K softmax             4, 2 more at s = 2   2s            s
    T     statistics          24                   16            16 + 8H

A GPU's products want K and T as multiples of 8; a TPU lays the last two axes of an array out in
tiles of 8 × 128, of which T and K are one each. A last block that is computed for the class token
alone keeps no more than its keys and values, and those are gone when memory is shortest.

Dropout keeps 2s for each number that it may drop, 1 with XLA, LayerScale 4s·T·D, QK-norm 5s·T·D.
With rematerialization a block keeps its input alone, s·T·D, and one block at a time is computed
again.

In a ResNet it is the group norms that keep: for each number that they read its value, 4 bytes
without XLA and s with it, and the ReLU's output; without XLA a BiT convolution keeps its padded
input too. A TPU computes a BiT's ReLUs again, and lays channels out in multiples of 128. Of a
hybrid's stem no TPU's program has been read: it is taken to keep what a GPU does.
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


def activations(
    model: keras.Model, compute_bytes: int, device: str, remat: bool | None = None
) -> Activations:
    """Estimate the activations of a model at its image size.

    Args:
        model: of `vit_keras`; it may have been made with shapes alone.
        compute_bytes: bytes of a number in the compute type, 2 or 4.
        device: that trains it, CPU, GPU or TPU; on the latter two XLA compiles.
        remat: whether encoder blocks are computed again; None: as in `model`.

    Raises:
        ValueError: no model of `vit_keras`.
    """
    if isinstance(model, MaskedPatchModel):
        return activations(model.vit, compute_bytes, device, remat)
    if isinstance(model, MaskedAutoencoder):
        return _autoencoder(model, compute_bytes, device, remat)
    if isinstance(model, VisionTransformer):
        return _vit(model, compute_bytes, device, model.remat if remat is None else remat)
    if isinstance(model, BiTResNet):
        return _bit(model, compute_bytes, device)
    raise ValueError(f"{type(model).__name__} is no model of vit_keras.")


def _autoencoder(model: MaskedAutoencoder, s: int, device: str, remat: bool | None) -> Activations:
    vit, width = model.vit, model.decoder_width
    tokens = model.num_patches + vit.num_prefix_tokens
    remat = vit.remat if remat is None else remat
    encoder = _vit(vit, s, device, remat, hidden=model.num_hidden)
    block = _block(width, width * MLP_RATIO, model.decoder_heads, tokens, tokens, s, device)
    ends = tokens * (vit.width + width) * s + model.num_patches * 4 * (width + 2 * model.num_values)
    return Activations(
        encoder.kept + model.decoder_layers * block + ends, max(encoder.working, block)
    )


def _vit(
    model: VisionTransformer, s: int, device: str, remat: bool, hidden: int = 0
) -> Activations:
    """Estimate it; the blocks do not see `hidden` patches."""
    rows, columns = model.grid_size
    tokens = rows * columns + model.num_prefix_tokens - hidden
    width = model.width
    if model.axial:
        keys, blocks = [columns, rows], 2 * model.num_layers
    else:
        keys, blocks = [tokens], model.num_layers
    block = sum(_encoder_block(model, tokens, count, s, device) for count in keys) // len(keys)
    if model.stem is None:
        start = 3 * math.prod(model.image_size) * s  # the image, as patches
        start += tokens * width * s * (device != "CPU")
    else:
        start = _stem(model.stem, (None, *model.image_size, 3), s, device)
    if model.dropout_rate:
        start += _dropped(s, device) * tokens * width
    head = {"gap": 2, "map": 4}.get(model.classifier, 0) * tokens * width * s
    # The gradients of the hidden layer, or on a TPU those of query, key and value in two layouts.
    working = block if device == "CPU" else s * tokens * (model.mlp_dim + width)
    if device == "TPU":
        working = max(working, s * tokens * 8 * width)
    if remat:
        return Activations(start + model.num_layers * tokens * width * s + head, block + working)
    kept = blocks * block
    if model.last_block_only is not None:
        kept -= block
        kept += tokens * width * (5 * s + 4 * (s == 2)) * (device == "CPU")
    return Activations(start + kept + head, working)


def _encoder_block(model: VisionTransformer, tokens: int, keys: int, s: int, device: str) -> int:
    tokens_width, hidden = tokens * model.width, tokens * model.mlp_dim
    kept = _block(model.width, model.mlp_dim, model.num_heads, tokens, keys, s, device)
    if model.layer_scale_init is not None:
        kept += 4 * s * tokens_width
    if model.qk_norm:
        kept += 5 * s * tokens_width
    if model.dropout_rate:
        kept += _dropped(s, device) * (2 * tokens_width + hidden)
    return kept


def _block(
    width: int, mlp_dim: int, heads: int, tokens: int, keys: int, s: int, device: str
) -> int:
    """Of a block without dropout and the like."""
    half = s == 2
    if device == "CPU":
        kept = tokens * width * (6 * s + 8 * half)
        kept += 4 * s * tokens * mlp_dim
        kept += heads * tokens * keys * (4 + 2 * half)
        return kept + 24 * tokens
    gpu, lines = device == "GPU", tokens // keys  # that attention is within: an axis has several
    lanes = 8 if gpu else 128
    tall, wide, depth = _ceil(keys, 8), _ceil(keys, lanes), width // heads
    of_head = min(depth * wide, tall * _ceil(depth, lanes))  # the axis that is padded less
    kept = 5 * s * tokens * width
    kept += 3 * s * heads * lines * of_head
    kept += (3 if gpu or lines > 1 else 1) * s * tokens * mlp_dim
    kept += (2 if gpu else 1) * s * heads * lines * tall * wide
    return kept + 16 * tokens + 8 * heads * tokens * (not gpu)


def _dropped(s: int, device: str) -> int:
    """Bytes that dropout keeps for each number that it may drop."""
    return 2 * s if device == "CPU" else 1  # XLA: whether it did


def _stem(stem: ResNetStem, shape: Shape, s: int, device: str) -> int:
    """A hybrid's stem: what each norm reads, and the ReLU's output."""
    value = 4 if device == "CPU" else s
    root = stem.conv_root.compute_output_shape(shape)
    kept = _numbers(root) * (value + s) + _numbers(shape) * s
    shape = _halved(root)
    kept += _numbers(shape) * s
    for unit in stem.residual_units:
        inner, out = _unit_shapes(unit, shape)
        kept += sum(map(_numbers, inner)) * (value + s) + _numbers(out) * (value + s)
        kept += _numbers(out) * (4 if device == "CPU" else 2 * s) * unit.project
        shape = out
    return kept + _numbers(shape) * s  # what the patch embedding reads


def _bit(model: BiTResNet, s: int, device: str) -> Activations:
    lanes = 128 if device == "TPU" else 1

    def numbers(shape: Shape) -> int:
        return _numbers((*shape[:3], _ceil(shape[3] or 0, lanes)))

    # What a norm reads, the ReLU's output, and without XLA its padded copy; a TPU fuses the ReLU.
    norm = {"CPU": 4 + 2 * s, "GPU": 2 * s, "TPU": s}[device]
    image = (None, *model.image_size, 3)
    root = model.root_conv.compute_output_shape(image)
    shape = _halved(root)
    kept = (_numbers(image) + numbers(root) + numbers(shape)) * s  # two of them padded
    largest = 0
    for unit in model.residual_units:
        inner, out = _unit_shapes(unit, shape)
        unit_bytes = (numbers(shape) + sum(map(numbers, inner))) * norm
        unit_bytes += numbers(shape) * s * unit.project * (device != "TPU")
        kept += unit_bytes
        largest = max(largest, unit_bytes)
        shape = out
    kept += numbers(shape) * (4 + s)
    return Activations(kept, largest)


def _ceil(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


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
