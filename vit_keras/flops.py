"""What a model costs: parameters, multiply-adds of a forward pass, FLOPs of training.

Counted from the model's config, layer by layer: matrix products and convolutions, which are all but
a few hundredths of the work. Norms, activations, softmax and additions are left out, as in the
literature. All tokens of the last block are counted, as in the literature and in Table 6 of the
paper, though a ViT here computes only the class token where nothing else is read: it does less than
is counted, by up to one part in its number of blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

from vit_keras.bit_resnet import BiTResNet
from vit_keras.create import create_model
from vit_keras.image_classifier import ImageClassifier
from vit_keras.layers.preactivation_unit import PreactivationUnit
from vit_keras.layers.resnet_stem import ResidualUnit, halved
from vit_keras.layers.std_conv import StdConv
from vit_keras.masked_autoencoder import MLP_RATIO, MaskedAutoencoder
from vit_keras.masked_patches import MaskedPatchModel
from vit_keras.vision_transformer import VisionTransformer

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Cost:
    """Cost of a model, for one image.

    Attributes:
        parameters: trainable numbers.
        multiply_adds: of a forward pass (often called MACs; half the FLOPs).
        remat: whether blocks are computed again in the backward pass.
    """

    parameters: int
    multiply_adds: int
    remat: bool = False

    @property
    def forward_flops(self) -> int:
        """FLOPs of a forward pass: a multiplication and an addition each count."""
        return 2 * self.multiply_adds

    @property
    def training_flops(self) -> int:
        """FLOPs of a forward and backward pass.

        The backward pass has two products for each of the forward pass: by the inputs and by the
        weights. Rematerialization does the forward pass again.
        """
        return (4 if self.remat else 3) * self.forward_flops


def model_cost(model: ImageClassifier | MaskedPatchModel | MaskedAutoencoder) -> Cost:
    """Cost of a model at its image size; of masked patch prediction, the encoder's.

    The model may have been made with shapes alone, in
    `keras.StatelessScope(initialize_variables=False)`.

    Raises:
        ValueError: no model of this package.
    """
    if isinstance(model, MaskedPatchModel):
        model = model.vit
    if isinstance(model, VisionTransformer):
        count, remat = _vit(model), model.remat
    elif isinstance(model, MaskedAutoencoder):
        count, remat = _autoencoder(model), model.vit.remat
    elif isinstance(model, BiTResNet):
        count, remat = _bit(model), False
    else:
        raise ValueError(f"{type(model).__name__} is no model of vit_keras.")
    parameters = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return Cost(parameters, count, remat)


def variant_cost(
    variant: str, image_size: int | tuple[int, int] = 224, num_classes: int | None = 1000
) -> Cost:
    """Cost of a named variant, without making its weights."""
    with keras.StatelessScope(initialize_variables=False):
        model = create_model(variant, image_size=image_size, num_classes=num_classes)
    return model_cost(model)


def pretraining_flops(cost: Cost, images: int, epochs: float) -> float:
    """FLOPs of a whole pre-training run, as the paper counts them in Table 6.

    The paper's figures (in exaFLOPs, 1e18) follow to within 10 % with the 303 million images of
    its JFT set, 224 pixels, 2 FLOPs per multiply-add and a backward pass of twice the forward
    pass. That these are its assumptions is our reading; the paper does not state them.
    """
    return cost.training_flops * images * epochs


def _vit(model: VisionTransformer) -> int:
    rows, columns = model.grid_size
    patches, width = rows * columns, model.width
    tokens = patches + model.num_prefix_tokens
    count, channels = 0, model.channels
    if model.stem is not None:
        count, channels = _stem(model)
    count += patches * model.patch_size**2 * channels * width
    per_token = _products_of_token(model)
    if model.axial:
        # Row attention meets `columns` keys per token, column attention `rows`.
        count += model.num_layers * patches * (2 * per_token + 2 * width * (rows + columns))
    else:
        count += model.num_layers * tokens * (per_token + width * 2 * tokens)
        if model.is_relative:
            blocks = 1 if model.position_place == "stem" else model.num_layers
            count += blocks * tokens * width * (2 * tokens - 1)
    if model.attention_pooling is not None:
        # Key, value and their use for each token pooled; query, projection and MLP for one token.
        pooled = tokens if model.pool_prefix else patches
        count += pooled * (2 * width**2 + 2 * width)
        count += 2 * width**2 + 2 * width * model.mlp_dim
    if model.representation_size is not None:
        count += width * (1 + model.reads_two) * model.representation_size
    return count + model.feature_dim * (model.num_classes or 0)


def _products_of_token(model: VisionTransformer) -> int:
    """Of a block, but for the attention's products with other tokens."""
    return 4 * model.width**2 + (2 + model.gated_mlp) * model.width * model.mlp_dim


def _autoencoder(model: MaskedAutoencoder) -> int:
    vit, width = model.vit, model.decoder_width
    tokens = model.num_patches + vit.num_prefix_tokens
    seen = tokens - model.num_hidden
    count = model.num_patches * vit.patch_size**2 * 3 * vit.width
    count += vit.num_layers * seen * (_products_of_token(vit) + vit.width * 2 * seen)
    count += seen * vit.width * width
    count += model.decoder_layers * tokens * ((4 + 2 * MLP_RATIO) * width**2 + width * 2 * tokens)
    return count + model.num_patches * width * model.num_values


def _stem(model: VisionTransformer) -> tuple[int, int]:
    """Multiply-adds of a hybrid's stem, and the channels of its feature map."""
    assert model.stem is not None
    count, shape = _conv(model.stem.conv_root, (None, *model.image_size, model.channels))
    shape = halved(shape)
    for unit in model.stem.residual_units:
        cost, shape = _unit(unit, shape)
        count += cost
    assert shape[-1] is not None
    return count, shape[-1]


def _bit(model: BiTResNet) -> int:
    count, shape = _conv(model.root_conv, (None, *model.image_size, model.channels))
    shape = halved(shape)
    for unit in model.residual_units:
        cost, shape = _unit(unit, shape)
        count += cost
    return count + model.feature_dim * (model.num_classes or 0)


def _unit(unit: ResidualUnit | PreactivationUnit, shape: Shape) -> tuple[int, Shape]:
    count = _conv(unit.conv_proj, shape)[0] if unit.project else 0
    cost, inner = _conv(unit.conv1, shape)
    count += cost
    if isinstance(unit.conv2, StdConv):
        cost, inner = _conv(unit.conv2, inner)
    else:
        assert isinstance(unit, PreactivationUnit)
        cost, inner = _attention(unit, inner), unit.compute_output_shape(shape)
        inner = (*inner[:3], unit.channels)
    count += cost
    cost, inner = _conv(unit.conv3, inner)
    return count + cost, inner


def _conv(layer: StdConv, shape: Shape) -> tuple[int, Shape]:
    out = layer.compute_output_shape(shape)
    assert out[1] is not None and out[2] is not None and shape[-1] is not None
    return out[1] * out[2] * layer.kernel_size**2 * shape[-1] * layer.filters, out


def _attention(unit: PreactivationUnit, shape: Shape) -> int:
    """Attention over a map: projections, and per position twice the keys and the offsets."""
    _, height, width, channels = shape
    assert height is not None and width is not None and channels is not None
    if unit.mixer == "axial":
        per_position = sum(
            4 * channels**2 + channels * (2 * length + 2 * length - 1) for length in (height, width)
        )
    else:
        length = height * width
        per_position = 4 * channels**2 + channels * (2 * length + 2 * length - 1)
    return height * width * per_position
