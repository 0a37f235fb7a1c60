"""Attention weights, rollout, distances, position similarity, filters, intermediates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops
from vit_family import FAMILY, some_images, tiny_bit, tiny_vit

import vit_keras
from vit_keras.attention_maps import rollout


def to_numpy(x):
    return ops.convert_to_numpy(x)


@pytest.mark.parametrize(
    "name",
    ["plain", "gap", "relative", "every_layer", "registers", "qk_norm", "dinov3", "distilled"],
)
def test_attention_weights_are_those_of_the_forward_pass(name):
    model = FAMILY[name]()
    weights = vit_keras.attention_weights(model, some_images())
    tokens = 6 + model.num_prefix_tokens
    assert [w.shape for w in weights] == [(3, 4, tokens, tokens)] * 2
    np.testing.assert_allclose(to_numpy(weights[1]).sum(-1), 1, atol=1e-5)

    # Attention's output made again from the weights and the values.
    embedded = model.embed(some_images())
    inputs, options = model.block_input(0, embedded)
    attention = model.blocks[0].attention
    normed = model.blocks[0].attention_norm(inputs)
    qkv = to_numpy(attention.qkv(normed))
    values = qkv[..., 64:].reshape(3, tokens, 4, 8)
    mixed = np.einsum("bhqk,bkhd->bqhd", to_numpy(weights[0]), values).reshape(3, tokens, 32)
    np.testing.assert_allclose(
        to_numpy(attention.out(mixed)), to_numpy(attention(normed, **options)), atol=1e-5
    )


def test_rollout_by_hand():
    # Two blocks, one head, two tokens: multiplied out on paper.
    first = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
    second = np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)
    joint = rollout([first[None, None], second[None, None]])
    np.testing.assert_allclose(joint, [[[0.5, 0.5], [0.5, 0.5]]])


@pytest.mark.parametrize("name", ["plain", "gap", "map", "registers", "eva02", "distilled"])
def test_rollout_has_the_grid(name):
    model = FAMILY[name]()
    maps = vit_keras.attention_rollout(model, some_images())
    assert maps.shape == (3, 2, 3) and maps.min() >= 0
    # All mass that is not on the patches is on the prefix tokens.
    total = maps.sum((1, 2))
    if model.num_prefix_tokens:
        assert (total < 1).all()
    else:
        np.testing.assert_allclose(total, 1, atol=1e-5)


@pytest.mark.parametrize("make", [FAMILY["axial"], tiny_bit])
def test_models_without_attention_among_all_tokens_are_refused(make):
    with pytest.raises(ValueError, match="plain ViT"):
        vit_keras.attention_weights(make(), some_images())


def test_attention_distance():
    # Head 0 looks at itself, head 1 evenly at all; a class token takes half of head 2.
    patches, tokens = 4, 5
    weights = np.zeros((1, 3, tokens, tokens), np.float32)
    weights[0, 0] = np.eye(tokens)
    weights[0, 1, :, 1:] = 1 / patches
    weights[0, 2, :, 0], weights[0, 2, :, 1:] = 0.5, 0.5 / patches
    distance = vit_keras.mean_attention_distance([weights], (2, 2), 16)
    mean = 16 * (0 + 1 + 1 + math.sqrt(2)) / 4
    np.testing.assert_allclose(distance, [[0, mean, mean / 2]], rtol=1e-6)


def test_position_similarity():
    model = tiny_vit()
    similarity = vit_keras.position_similarity(model)
    assert similarity.shape == (2, 3, 2, 3)
    table = to_numpy(model.positions[0].embedding)[0, 1:]
    expected = table[1] @ table[5] / np.linalg.norm(table[1]) / np.linalg.norm(table[5])
    assert similarity[0, 1, 1, 2] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="no absolute position"):
        vit_keras.position_similarity(FAMILY["relative"]())


def test_filters_are_principal_components():
    sklearn = pytest.importorskip("sklearn.decomposition")
    model = tiny_vit()
    filters = vit_keras.embedding_filters(model, 5)
    assert filters.shape == (5, 16, 16, 3)
    kernel = to_numpy(model.patch_embedding.kernel).reshape(768, 32).T
    expected = sklearn.PCA(5, svd_solver="full").fit(kernel).components_
    np.testing.assert_allclose(
        np.abs(np.sum(filters.reshape(5, -1) * expected, axis=1)), 1, atol=1e-3
    )


def test_intermediates_are_those_of_the_forward_pass():
    model, images = tiny_vit(), some_images()
    inside = vit_keras.intermediates(model, images)
    assert [b.shape for b in inside.blocks] == [(3, 7, 32)] * 2
    # Not to the bit: the model's own call computes the class token of the last block alone.
    np.testing.assert_allclose(to_numpy(inside.logits), to_numpy(model(images)), atol=1e-5)
    np.testing.assert_array_equal(
        to_numpy(model.blocks[0](inside.embedded)), to_numpy(inside.blocks[0])
    )
    np.testing.assert_array_equal(
        to_numpy(model.pool(inside.blocks[-1])), to_numpy(inside.features)
    )


@pytest.mark.parametrize("name", ["plain", "gap", "registers", "dinov3"])
def test_feature_map_has_the_patches_at_their_places(name):
    model = FAMILY[name]()
    found = to_numpy(model.feature_map(some_images()))
    assert found.shape == (3, 2, 3, 32)
    tokens = vit_keras.intermediates(model, some_images()).blocks[-1]
    patches = to_numpy(model.encoder_norm(tokens))[:, model.num_prefix_tokens :]
    np.testing.assert_allclose(found.reshape(patches.shape), patches, atol=1e-5)
    if name == "gap":
        mean = to_numpy(model.features(some_images()))
        np.testing.assert_allclose(found.mean(axis=(1, 2)), mean, atol=1e-5)


def test_feature_map_of_a_resnet_is_what_it_averages():
    model = tiny_bit()
    found = to_numpy(model.feature_map(some_images()))
    assert found.ndim == 4
    mean = to_numpy(model.features(some_images()))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), mean, atol=1e-5)
