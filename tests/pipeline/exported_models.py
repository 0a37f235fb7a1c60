"""Tiny models with random weights, and their export folders."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

import vit_keras
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.serving.export_folder import export_model

CLASS_NAMES = ("ant", "bée", "猫")


def tiny_vit(image_size=(16, 24), num_classes=3, seed=0, **overrides):
    """A ViT whose every weight is random: a zero head would make all comparisons pass."""
    sizes = {"num_layers": 1, "width": 16, "mlp_dim": 32, "num_heads": 2, "patch_size": 8}
    model = vit_keras.create_model(
        "Ti/16", image_size=image_size, num_classes=num_classes, **(sizes | overrides)
    )
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model


def export_tiny_vit(folder: Path, model: keras.Model | None = None, **options):
    """Export a tiny ViT to `folder`; returns the live model."""
    model = model or tiny_vit()
    names = CLASS_NAMES if model.num_classes else ()
    export_model(
        model, EvalPreprocess(model.image_size), names, str(folder), variant="tiny", **options
    )
    return model
