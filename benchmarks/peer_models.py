"""The same ViT from each library, and the batch it is given."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import numpy as np

CLASSES = 1000
SIZE = 224


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (batch, SIZE, SIZE, 3)).astype(np.float32)


def labels(batch: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, CLASSES, batch)


def sizes(variant: str) -> dict[str, int]:
    from vit_keras.variants import ENCODER_SIZES

    size, patch = variant.split("/")
    return {**asdict(ENCODER_SIZES[size]), "patch_size": int(patch)}


def policy(precision: str) -> str:
    """Keras' dtype policy."""
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


def rewrite_products() -> None:
    """Let TensorFlow's oneDNN graph rewrite move a float32 model's products to bfloat16."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})


def keras_hub_vit(variant: str, precision: str) -> Any:
    """keras-hub's, a Keras model."""
    import keras_hub

    size, dtype = sizes(variant), policy(precision)
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=size["patch_size"],
        num_layers=size["num_layers"],
        num_heads=size["num_heads"],
        hidden_dim=size["width"],
        mlp_dim=size["mlp_dim"],
        dtype=dtype,
    )
    return keras_hub.models.ViTImageClassifier(backbone, CLASSES, pooling="token", dtype=dtype)


def hugging_face_vit(variant: str) -> Any:
    """Hugging Face's, a PyTorch module that may use all cores."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    size = sizes(variant)
    config = ViTConfig(
        hidden_size=size["width"],
        num_hidden_layers=size["num_layers"],
        num_attention_heads=size["num_heads"],
        intermediate_size=size["mlp_dim"],
        image_size=SIZE,
        patch_size=size["patch_size"],
        num_labels=CLASSES,
        hidden_act="gelu_pytorch_tanh",
        hidden_dropout_prob=0.0,
        attn_implementation="sdpa",
    )
    return ViTForImageClassification(config)


def flax_vit(variant: str, precision: str) -> Any:
    """In Flax, a module whose logits are float32."""
    import flax.linen as nn
    import jax.numpy as jnp

    size = sizes(variant)
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.LayerNorm(dtype=dtype)(x)
            x = x + nn.MultiHeadDotProductAttention(size["num_heads"], dtype=dtype)(y, y)
            y = nn.LayerNorm(dtype=dtype)(x)
            y = nn.gelu(nn.Dense(size["mlp_dim"], dtype=dtype)(y))
            return x + nn.Dense(size["width"], dtype=dtype)(y)

    class ViT(nn.Module):
        @nn.compact
        def __call__(self, x):
            patch = (size["patch_size"],) * 2
            x = nn.Conv(size["width"], patch, patch, padding="VALID", dtype=dtype)(x)
            x = x.reshape(x.shape[0], -1, x.shape[-1])
            cls = self.param("cls", nn.initializers.zeros, (1, 1, x.shape[-1]))
            cls = jnp.broadcast_to(cls, (x.shape[0], 1, x.shape[-1])).astype(x.dtype)
            x = jnp.concatenate([cls, x], axis=1)
            shape = (1, *x.shape[1:])
            x = x + self.param("positions", nn.initializers.normal(0.02), shape).astype(x.dtype)
            for _ in range(size["num_layers"]):
                x = Block()(x)
            return nn.Dense(CLASSES)(nn.LayerNorm(dtype=dtype)(x)[:, 0])

    return ViT()
