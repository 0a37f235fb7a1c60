"""Layers of the family. Each round-trips through `get_config` and through a `.keras` file."""

from vit_keras.layers.attention import SelfAttention
from vit_keras.layers.attention_pooling import AttentionPooling
from vit_keras.layers.axial_attention import AxialAttention, MapAttention
from vit_keras.layers.axial_block import AxialBlock
from vit_keras.layers.class_token import PrependTokens
from vit_keras.layers.dropout import Dropout, StochasticDepth
from vit_keras.layers.encoder_block import EncoderBlock
from vit_keras.layers.layer_scale import LayerScale
from vit_keras.layers.mlp import Mlp
from vit_keras.layers.patch_embedding import PatchEmbedding
from vit_keras.layers.position_embedding import (
    Learned2dPositionEmbedding,
    LearnedPositionEmbedding,
    SinCos2dPositionEmbedding,
)
from vit_keras.layers.preactivation_unit import PreactivationUnit
from vit_keras.layers.relative_position import RelativePositionEmbedding
from vit_keras.layers.resnet_stem import ResidualUnit, ResNetStem
from vit_keras.layers.std_conv import StdConv

__all__ = [
    "AttentionPooling",
    "AxialAttention",
    "AxialBlock",
    "Dropout",
    "EncoderBlock",
    "LayerScale",
    "Learned2dPositionEmbedding",
    "LearnedPositionEmbedding",
    "MapAttention",
    "Mlp",
    "PatchEmbedding",
    "PreactivationUnit",
    "PrependTokens",
    "RelativePositionEmbedding",
    "ResNetStem",
    "ResidualUnit",
    "SelfAttention",
    "SinCos2dPositionEmbedding",
    "StdConv",
    "StochasticDepth",
]
