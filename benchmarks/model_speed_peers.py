"""One step of each contender of model_speed.py: the same ViT, batch and precision.

A step is a forward pass, or a forward and backward pass for the mean of the squared logits, with
gradients for every weight and no optimizer. Each contender is made and run in a process of its own,
so that no library's thread pool disturbs another's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

CLASSES = 1000
SIZE = 224
Step = Callable[[], None]


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (batch, SIZE, SIZE, 3)).astype(np.float32)


def sizes(variant: str) -> dict[str, int]:
    from vit_keras.variants import ENCODER_SIZES

    size, patch = variant.split("/")
    return {**asdict(ENCODER_SIZES[size]), "patch_size": int(patch)}


def _tensorflow_steps(model, batch: int, jit: bool) -> dict[str, Step]:
    import tensorflow as tf

    x = tf.constant(images(batch))
    weights = [w.value for w in model.trainable_weights]

    @tf.function(jit_compile=jit)
    def forward():
        return model(x, training=False)

    @tf.function(jit_compile=jit)
    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(model(x, training=True), tf.float32)))
        return tape.gradient(loss, weights)

    def run_train():
        train()[0].numpy()

    return {"forward": lambda: forward().numpy(), "train": run_train}


def vit_keras_steps(
    variant: str, batch: int, precision: str, *, jit: bool = False, auto: bool = False
) -> dict[str, Step]:
    import tensorflow as tf

    import vit_keras

    if auto:  # TensorFlow's graph rewrite: a float32 model whose products run in bfloat16
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    dtype = "mixed_bfloat16" if precision == "bfloat16" and not auto else "float32"
    model = vit_keras.create_model(variant, num_classes=CLASSES, dtype=dtype)
    return _tensorflow_steps(model, batch, jit)


def keras_hub_steps(variant: str, batch: int, precision: str, *, jit: bool = False):
    import keras_hub

    size = sizes(variant)
    dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=size["patch_size"],
        num_layers=size["num_layers"],
        num_heads=size["num_heads"],
        hidden_dim=size["width"],
        mlp_dim=size["mlp_dim"],
        dtype=dtype,
    )
    model = keras_hub.models.ViTImageClassifier(backbone, CLASSES, pooling="token", dtype=dtype)
    return _tensorflow_steps(model, batch, jit)


def hugging_face_steps(variant: str, batch: int, precision: str, *, compiled: bool = False):
    import contextlib

    import torch
    from transformers import ViTConfig, ViTForImageClassification

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
    model = ViTForImageClassification(config)
    run = torch.compile(model) if compiled else model
    x = torch.from_numpy(images(batch).transpose(0, 3, 1, 2).copy())

    def autocast():
        if precision == "bfloat16":
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def forward():
        model.eval()
        with torch.no_grad(), autocast():
            run(x).logits.float().sum().item()

    def train():
        model.train()
        model.zero_grad(set_to_none=True)
        with autocast():
            loss = run(x).logits.float().square().mean()
        loss.backward()

    return {"forward": forward, "train": train}


def flax_steps(variant: str, batch: int, precision: str):
    import flax.linen as nn
    import jax
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

    x = jnp.asarray(images(batch))
    model = ViT()
    variables = model.init(jax.random.key(0), x)
    forward = jax.jit(lambda v: model.apply(v, x))
    train = jax.jit(jax.grad(lambda v: jnp.mean(jnp.square(model.apply(v, x)))))
    return {
        "forward": lambda: forward(variables).block_until_ready(),
        "train": lambda: jax.block_until_ready(train(variables)),
    }


CONTENDERS: dict[str, dict[str, Callable[..., dict[str, Step]]]] = {
    "float32": {
        "vit_keras": vit_keras_steps,
        "vit_keras, XLA": lambda *a: vit_keras_steps(*a, jit=True),
        "keras-hub": keras_hub_steps,
        "keras-hub, XLA": lambda *a: keras_hub_steps(*a, jit=True),
        "Hugging Face": hugging_face_steps,
        "Hugging Face, compiled": lambda *a: hugging_face_steps(*a, compiled=True),
        "Flax": flax_steps,
    },
    "bfloat16": {
        "vit_keras, mixed_bfloat16": vit_keras_steps,
        "vit_keras, mixed_bfloat16, XLA": lambda *a: vit_keras_steps(*a, jit=True),
        "vit_keras, graph rewrite": lambda *a: vit_keras_steps(*a, auto=True),
        "keras-hub, mixed_bfloat16": keras_hub_steps,
        "Hugging Face, autocast": hugging_face_steps,
        "Hugging Face, autocast, compiled": lambda *a: hugging_face_steps(*a, compiled=True),
        "Flax, bfloat16": flax_steps,
    },
}
