"""A plain ViT in Flax with the computation of google-research/big_vision's, for comparisons.

Layer norms in float32, projections of queries, keys and values apart with one axis for the heads,
attention and MLP in the compute type with float32 weights, the tanh GELU, a class token, and
positions for the patches alone. Its step is softmax cross-entropy, clipping by global norm and
AdamW by optax. Written anew for this project; no code is big_vision's.

    python benchmarks/flax_vit.py VARIANT BATCH    # the step's StableHLO on standard output
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from peer_models import CLASSES, SIZE, sizes


class Block(nn.Module):
    """A pre-norm encoder block."""

    mlp_dim: int
    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens `[batch, tokens, width]` to the same."""
        xavier = nn.initializers.xavier_uniform()
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(
            self.heads, kernel_init=xavier, dtype=self.dtype, deterministic=True
        )(y, y)
        y = nn.Dense(self.mlp_dim, kernel_init=xavier, dtype=self.dtype)(nn.LayerNorm()(x))
        return x + nn.Dense(x.shape[-1], kernel_init=xavier, dtype=self.dtype)(nn.gelu(y))


class ViT(nn.Module):
    """Images `[batch, height, width, 3]` to logits, float32."""

    width: int
    blocks: int
    mlp_dim: int
    heads: int
    patch: int
    classes: int
    dtype: Any

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, float32 `[batch, classes]`."""
        size = (self.patch, self.patch)
        x = nn.Conv(self.width, size, strides=size, padding="VALID", dtype=self.dtype)(
            images.astype(self.dtype)
        )
        x = x.reshape(x.shape[0], -1, self.width)
        deviation = self.width**-0.5
        shape = (1, x.shape[1], self.width)
        x = x + self.param("positions", nn.initializers.normal(deviation), shape, x.dtype)
        token = self.param("token", nn.initializers.zeros, (1, 1, self.width), x.dtype)
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], axis=1)
        for _ in range(self.blocks):
            x = Block(self.mlp_dim, self.heads, self.dtype)(x)
        x = nn.LayerNorm()(x)[:, 0]
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros)(x)


def lowered_step(variant: str, batch: int) -> bytes:
    """The whole train step in bfloat16, as StableHLO; weights and moments are donated.

    Args:
        variant: such as B/16.
        batch: images.
    """
    size = sizes(variant)
    model = ViT(
        width=size["width"],
        blocks=size["num_layers"],
        mlp_dim=size["mlp_dim"],
        heads=size["num_heads"],
        patch=size["patch_size"],
        classes=CLASSES,
        dtype=jnp.bfloat16,
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(1e-3, weight_decay=0.1, mask=_kernels),
    )
    images = jax.ShapeDtypeStruct((batch, SIZE, SIZE, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    weights = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    moments = jax.eval_shape(optimizer.init, weights)
    step = jax.jit(_step(model, optimizer), donate_argnums=(0, 1))
    lowered = step.lower(weights, moments, images, labels)
    return lowered.as_text().encode()


def _kernels(weights: Any) -> Any:
    return jax.tree_util.tree_map(lambda weight: weight.ndim > 1, weights)


def _step(model: ViT, optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    def loss_of(weights: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = model.apply({"params": weights}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(weights: Any, moments: Any, images: jax.Array, labels: jax.Array) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(weights, images, labels)
        updates, moments = optimizer.update(gradients, moments, weights)
        return optax.apply_updates(weights, updates), moments, loss

    return step


if __name__ == "__main__":
    sys.stdout.buffer.write(lowered_step(sys.argv[1], int(sys.argv[2])))
