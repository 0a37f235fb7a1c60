"""A ViT called at another patch size is the copy that `adapt_model` makes of it (FlexiViT)."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from vit_family import some_images, tiny_bit, tiny_vit

from vit_keras import AtPatchSize, adapt_model

OPTIONS = {
    "learned_1d": {},
    "learned_2d": {"position_embedding": "learned_2d", "num_registers": 2},
    "sincos_2d": {"position_embedding": "sincos_2d", "classifier": "gap"},
    "rope": {"position_embedding": "none", "rope": "normalized"},
}


@pytest.mark.parametrize("patch_size", [4, 8])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_computes_what_a_copy_of_that_patch_size_does(options, patch_size):
    vit = tiny_vit(**options)
    before = [ops.convert_to_numpy(weight) for weight in vit.weights]
    copy = adapt_model(vit, patch_size=patch_size, method="bilinear_centers")
    found = AtPatchSize(vit, patch_size)(some_images())
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), ops.convert_to_numpy(copy(some_images())), atol=1e-5
    )
    for weight, value in zip(vit.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), value)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="TensorFlow's tape")
def test_gradients_reach_every_weight_and_noise_follows_from_the_seeds():
    import tensorflow as tf

    vit = tiny_vit(dropout_rate=0.2)
    at_8 = tf.function(AtPatchSize(vit, 8), jit_compile=True)
    images, seeds = tf.constant(some_images()), tf.range(3)
    with tf.GradientTape() as tape:
        first = at_8(images, training=True, seeds=seeds)
        loss = tf.reduce_sum(first**2)
    gradients = tape.gradient(loss, [weight.value for weight in vit.trainable_variables])
    assert all(gradient is not None and tf.reduce_any(gradient != 0) for gradient in gradients)
    np.testing.assert_array_equal(first, at_8(images, training=True, seeds=seeds))
    assert not np.array_equal(first, at_8(images, training=True, seeds=seeds + 1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (tiny_bit, "takes a ViT without relative"),
        (lambda: tiny_vit(position_embedding="relative"), "takes a ViT without relative"),
        (lambda: tiny_vit(remat=True), "rematerialization"),
    ],
)
def test_models_that_cannot_be_called_so(model, message):
    with pytest.raises(ValueError, match=message):
        AtPatchSize(model(), 8)
