"""The contenders of train_step_speed.py: each makes a model and gives a function that trains it.

A step is forward, softmax cross-entropy over 1000 classes, backward, clipping by a global norm of 1
and AdamW, on one batch that is there already. Each contender runs in a process of its own, so that
no library's thread pool disturbs another's.
"""

from __future__ import annotations

from collections.abc import Callable

from peer_models import (
    CLASSES,
    SIZE,
    flax_vit,
    hugging_face_vit,
    images,
    keras_hub_vit,
    labels,
    policy,
    rewrite_products,
)
from turns import RunSteps

RATE, DECAY, CLIP = 1e-4, 0.1, 1.0


def ours(variant: str, batch: int, precision: str, *, jit: bool = False) -> RunSteps:
    """The step of `python -m pipeline.pretrain`, in float32 or mixed_bfloat16."""
    import tensorflow as tf

    from pipeline.data.data_config import DataConfig
    from pipeline.recipe.run_config import PretrainConfig
    from pipeline.training.model.build_model import build_model
    from pipeline.training.model.model_config import ModelConfig
    from pipeline.training.optimizers.optim_config import OptimConfig
    from pipeline.training.state.train_state import TrainState
    from pipeline.training.step.train_step import make_train_step

    config = PretrainConfig(
        data=DataConfig(source="none", image_size=SIZE),
        workdir="none",
        model=ModelConfig(variant),
        optim=OptimConfig(peak_lr=RATE, warmup_steps=0, weight_decay=DECAY, clip_norm=CLIP),
        batch_size=batch,
    )
    model = build_model(config, CLASSES, policy(precision))
    state = TrainState(model, config.optim, seed=0)
    strategy = tf.distribute.get_strategy()
    step = make_train_step(strategy, state, config, total_steps=10_000, jit_compile=jit)
    data = (tf.constant(images(batch)), tf.constant(labels(batch)), tf.range(batch))

    def run(steps: int) -> None:
        for _ in range(steps):
            metrics = step(*data)
        metrics["loss"].numpy()

    return run


def ours_rewritten(variant: str, batch: int, precision: str) -> RunSteps:
    """Ours in float32, whose products TensorFlow's oneDNN graph rewrite moves to bfloat16."""
    rewrite_products()
    return ours(variant, batch, "float32")


def keras_fit(variant: str, batch: int, precision: str, *, jit: bool = False) -> RunSteps:
    """Keras' `fit` on keras-hub's ViT."""
    import keras
    import tensorflow as tf

    model = keras_hub_vit(variant, precision)
    model.compile(
        keras.optimizers.AdamW(RATE, weight_decay=DECAY, global_clipnorm=CLIP),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit,
    )
    data = tf.data.Dataset.from_tensors((images(batch), labels(batch))).repeat()
    return lambda steps: model.fit(data, steps_per_epoch=steps, verbose=0)


def hugging_face(variant: str, batch: int, precision: str, *, compiled: bool = False) -> RunSteps:
    """Hugging Face's ViT with PyTorch's fused AdamW; bfloat16 is autocast."""
    import torch

    model = hugging_face_vit(variant).train()
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY, fused=True)
    x = torch.from_numpy(images(batch).transpose(0, 3, 1, 2).copy())
    y = torch.from_numpy(labels(batch))

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                logits = forward(x).logits
            torch.nn.functional.cross_entropy(logits.float(), y).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()

    return run


def flax(variant: str, batch: int, precision: str) -> RunSteps:
    """A Flax ViT with optax, the whole step compiled by XLA."""
    import jax
    import jax.numpy as jnp
    import optax

    x, y = jnp.asarray(images(batch)), jnp.asarray(labels(batch))
    model = flax_vit(variant, precision)
    variables = model.init(jax.random.key(0), x)
    optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.adamw(RATE, weight_decay=DECAY))

    def step(variables, moments):
        def loss(variables):
            logits = model.apply(variables, x).astype(jnp.float32)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        updates, moments = optimizer.update(jax.grad(loss)(variables), moments, variables)
        return optax.apply_updates(variables, updates), moments

    compiled = jax.jit(step, donate_argnums=(0, 1))
    state = [variables, optimizer.init(variables)]

    def run(steps: int) -> None:
        for _ in range(steps):
            state[:] = compiled(*state)
        jax.block_until_ready(state)

    return run


CONTENDERS: dict[str, dict[str, Callable[..., RunSteps]]] = {
    "float32": {
        "ours": ours,
        "ours, XLA": lambda *a: ours(*a, jit=True),
        "Keras fit, keras-hub": keras_fit,
        "Keras fit, keras-hub, XLA": lambda *a: keras_fit(*a, jit=True),
        "Hugging Face": hugging_face,
        "Hugging Face, compiled": lambda *a: hugging_face(*a, compiled=True),
        "Flax": flax,
    },
    "bfloat16": {
        "ours, mixed_bfloat16": ours,
        "ours, mixed_bfloat16, XLA": lambda *a: ours(*a, jit=True),
        "ours, oneDNN graph rewrite": ours_rewritten,
        "Keras fit, keras-hub, mixed_bfloat16": keras_fit,
        "Hugging Face, autocast": hugging_face,
        "Hugging Face, autocast, compiled": lambda *a: hugging_face(*a, compiled=True),
        "Flax, bfloat16": flax,
    },
}
EXTENSIVE = {
    "Keras fit, keras-hub, XLA",
    "Hugging Face, compiled",
    "Hugging Face, autocast, compiled",
}
"""Left out with --quick."""
