"""Vision Transformers in Keras 3, on any backend."""

import warnings
from importlib import metadata

from vit_keras import flops
from vit_keras.analysis import (
    embedding_filters,
    mean_attention_distance,
    position_similarity,
)
from vit_keras.attention_maps import attention_rollout, attention_weights
from vit_keras.bit_resnet import BiTResNet
from vit_keras.create import create_model
from vit_keras.hub.zoo import list_pretrained
from vit_keras.intermediates import intermediates
from vit_keras.masked_autoencoder import MaskedAutoencoder
from vit_keras.masked_patches import MaskedPatchModel
from vit_keras.preprocessing import Preprocess, Preprocessing, preprocess
from vit_keras.variants import ENCODER_SIZES, parse_variant
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights import (
    AtPatchSize,
    adapt_model,
    from_pretrained,
    load_weights,
    resample_grid,
    resample_patches,
    save_weights,
)

__all__ = [
    "ENCODER_SIZES",
    "AtPatchSize",
    "BiTResNet",
    "MaskedAutoencoder",
    "MaskedPatchModel",
    "Preprocess",
    "Preprocessing",
    "VisionTransformer",
    "adapt_model",
    "attention_rollout",
    "attention_weights",
    "create_model",
    "embedding_filters",
    "flops",
    "from_pretrained",
    "intermediates",
    "list_pretrained",
    "load_weights",
    "mean_attention_distance",
    "parse_variant",
    "position_similarity",
    "preprocess",
    "resample_grid",
    "resample_patches",
    "save_weights",
]


def _warn_of_namesake() -> None:
    try:
        version = metadata.version("vit-keras")
    except metadata.PackageNotFoundError:
        return
    warnings.warn(
        f"PyPI's distribution vit-keras {version} is installed too, and its package is called "
        "vit_keras as well: which of the two files overwrote the other's is not certain. pip "
        "uninstall vit-keras, then install vit-keras-pipeline again.",
        stacklevel=3,
    )


_warn_of_namesake()
