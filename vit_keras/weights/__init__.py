"""Weights in and out: official `.npz`, BiT's `.npz`, timm's and Hugging Face's `.safetensors`."""

from vit_keras.weights.at_patch_size import AtPatchSize
from vit_keras.weights.files import LAYOUTS, load_weights, save_weights
from vit_keras.weights.pretrained import adapt_model, from_pretrained
from vit_keras.weights.resample import resample_grid, resample_patches

__all__ = [
    "LAYOUTS",
    "AtPatchSize",
    "adapt_model",
    "from_pretrained",
    "load_weights",
    "resample_grid",
    "resample_patches",
    "save_weights",
]
