"""The contenders of model_speed.py: each gives a function that runs its model so many times.

The gradient is that of the mean square of the logits with respect to all weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from peer_models import (
    CLASSES,
    SIZE,
    flax_vit,
    hugging_face_vit,
    images,
    keras_hub_vit,
    policy,
    rewrite_products,
)
from turns import Make, RunSteps


def ours(variant: str, batch: int, precision: str, *, backward: bool, jit: bool) -> RunSteps:
    """`vit_keras`, as tf.function."""
    import vit_keras

    model = vit_keras.create_model(
        variant, image_size=SIZE, num_classes=CLASSES, dtype=policy(precision)
    )
    return _keras(model, batch, backward=backward, jit=jit)


def ours_rewritten(variant: str, batch: int, precision: str, *, backward: bool) -> RunSteps:
    """Ours in float32, whose products TensorFlow's oneDNN graph rewrite moves to bfloat16."""
    rewrite_products()
    return ours(variant, batch, "float32", backward=backward, jit=False)


def keras_hub(variant: str, batch: int, precision: str, *, backward: bool, jit: bool) -> RunSteps:
    """keras-hub's ViT, as tf.function."""
    return _keras(keras_hub_vit(variant, precision), batch, backward=backward, jit=jit)


def _keras(model: Any, batch: int, *, backward: bool, jit: bool) -> RunSteps:
    import tensorflow as tf

    x = tf.constant(images(batch))

    @tf.function(jit_compile=jit)
    def work() -> Any:
        if not backward:
            return model(x, training=False)
        with tf.GradientTape() as tape:
            logits = tf.cast(model(x, training=True), tf.float32)
            loss = tf.reduce_mean(tf.square(logits + 1.0))  # a head of zeros gives logits of zero
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    def run(steps: int) -> None:
        for _ in range(steps):
            result = work()
        tf.nest.flatten(result)[-1].numpy()

    return run


def hugging_face(
    variant: str, batch: int, precision: str, *, backward: bool, compiled: bool
) -> RunSteps:
    """Hugging Face's ViT in PyTorch; bfloat16 is autocast."""
    import torch

    model = hugging_face_vit(variant).train(backward)
    forward = torch.compile(model) if compiled else model
    x = torch.from_numpy(images(batch).transpose(0, 3, 1, 2).copy())

    def run(steps: int) -> None:
        with contextlib.nullcontext() if backward else torch.inference_mode():
            for _ in range(steps):
                model.zero_grad(set_to_none=True)
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                    logits = forward(x).logits
                if backward:
                    (logits.float() + 1.0).square().mean().backward()

    return run


def flax(variant: str, batch: int, precision: str, *, backward: bool) -> RunSteps:
    """A Flax ViT, compiled by XLA."""
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(images(batch))
    model = flax_vit(variant, precision)
    variables = model.init(jax.random.key(0), x)

    def loss(variables: Any) -> Any:
        return jnp.square(model.apply(variables, x).astype(jnp.float32) + 1.0).mean()

    work = jax.jit(jax.grad(loss) if backward else lambda v: model.apply(v, x))

    def run(steps: int) -> None:
        for _ in range(steps):
            result = work(variables)
        jax.block_until_ready(result)

    return run


def _contenders(precision: str, *, backward: bool) -> dict[str, Make]:
    makers: dict[str, Callable[..., RunSteps]] = {
        "ours": partial(ours, jit=False),
        "ours, XLA": partial(ours, jit=True),
        "ours, oneDNN graph rewrite": ours_rewritten,
        "keras-hub": partial(keras_hub, jit=False),
        "keras-hub, XLA": partial(keras_hub, jit=True),
        "Hugging Face": partial(hugging_face, compiled=False),
        "Hugging Face, compiled": partial(hugging_face, compiled=True),
        "Flax": flax,
    }
    if precision == "float32":
        del makers["ours, oneDNN graph rewrite"]
    return {name: partial(make, backward=backward) for name, make in makers.items()}


CONTENDERS = {
    f"{precision}, {work}": _contenders(precision, backward=work != "forward")
    for precision in ("float32", "bfloat16")
    for work in ("forward", "forward and backward")
}
EXTENSIVE = {"keras-hub, XLA", "Hugging Face, compiled"}
"""Left out with --quick."""
