"""What holds for every model of the family: saving, precision, XLA, noise, Keras' own training."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops
from vit_family import FAMILY, some_images, tiny_bit, tiny_vit

import vit_keras

tensorflow_only = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow's own machinery"
)


# Every architecture, and the choices that put other operations into the graph. The time of XLA
# grows with the number of layers: one of each kind is enough where two are the same.
COMPILED = {
    "map": {"num_layers": 1},
    "relative": {"num_layers": 1},
    "eva02": {"num_layers": 1},
    "aimv2": {"num_layers": 1},
    "remat": {"stochastic_depth_rate": 0.3},  # of two blocks, as the first one's rate is 0
    "axial": {"num_layers": 1},
    "hybrid": {"num_layers": 1},
    "bit": {},
    "axial_resnet": {"units": (1,), "mixers": ("axial",)},
    "bottleneck_attention": {"units": (1,), "mixers": ("attention",)},
}
MIXED = (
    "plain",
    "map",
    "relative",
    "eva02",
    "aimv2",
    "axial",
    "hybrid",
    "bit",
    "axial_resnet",
    "bottleneck_attention",
)


@pytest.fixture(scope="module", params=FAMILY)
def model_name(request):
    return request.param


@pytest.fixture(scope="module")
def model(model_name):
    return FAMILY[model_name]()


def to_numpy(x):
    return ops.convert_to_numpy(x)


@pytest.mark.any_backend
def test_logits_features_and_spec(model):
    images = some_images()
    logits, features = model(images), model.features(images)
    assert logits.shape == (3, 5) and features.shape == (3, model.feature_dim)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(model.head(features)), to_numpy(logits), atol=1e-6)
    spec = model.compute_output_spec(keras.KerasTensor((None, 32, 48, 3)))
    assert spec.shape == (None, 5) and spec.dtype == "float32"
    assert len({np.round(row, 4).tobytes() for row in to_numpy(logits)}) == 3


def test_keras_file_gives_the_same_model(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    assert again.get_config() == model.get_config()
    assert [w.path for w in again.weights] == [w.path for w in model.weights]
    np.testing.assert_array_equal(to_numpy(again(some_images())), to_numpy(model(some_images())))


def test_config_survives_json(model):
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)
    assert again.get_config() == model.get_config()
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


def test_weight_paths_are_unique_and_do_not_depend_on_what_was_made_before(model):
    paths = [w.path for w in model.weights]
    assert len(set(paths)) == len(paths)
    again = type(model).from_config(model.get_config())
    assert [w.path for w in again.weights] == paths


def test_an_image_does_not_feel_the_rest_of_its_batch(model):
    images = some_images()
    np.testing.assert_allclose(
        to_numpy(model(images[1:2])), to_numpy(model(images))[1:2], atol=2e-5
    )


def test_masks_follow_the_seed_of_each_image(model):
    images, seeds = some_images(), np.array([5, 6, 7], np.int32)
    whole = to_numpy(model(images, training=True, seeds=seeds))
    part = to_numpy(model(images[1:], training=True, seeds=seeds[1:]))
    np.testing.assert_allclose(part, whole[1:], atol=2e-5)
    if model.has_noise:
        other = to_numpy(model(images, training=True, seeds=seeds + 10))
        assert np.abs(other - whole).max() > 1e-3
        free = [to_numpy(model(images, training=True)) for _ in range(2)]
        assert np.abs(free[0] - free[1]).max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_registers": 3, "class_token_positioned": False},
        {"qk_norm": True, "layer_scale_init": 0.1},
        {"position_place": "every_layer"},
        {"rope": "grid", "qkv_bias": False, "attention_inner_norm": True},
        {"residual_post_norm": True, "gated_mlp": True, "activation": "silu"},
        {"dropout_rate": 0.2, "stochastic_depth_rate": 0.3},
    ],
)
def test_a_last_block_of_the_class_token_alone_gives_what_the_whole_block_gives(options):
    model, images, seeds = tiny_vit(**options), some_images(), np.array([5, 6, 7], np.int32)
    assert model.last_block_only == model.num_registers
    tokens = model.embed(images, training=True, seeds=seeds)
    for i in range(model.num_layers):
        tokens = model.apply_block(i, tokens, training=True, seeds=seeds)
    got = model.features(images, training=True, seeds=seeds)
    np.testing.assert_allclose(to_numpy(got), to_numpy(model.pool(tokens)), atol=1e-5)


def test_the_spec_of_one_token():
    block = tiny_vit().blocks[0]
    tokens = keras.KerasTensor((None, 7, 32))
    assert block(tokens, only=0).shape == block.attention(tokens, only=0).shape == (None, 1, 32)
    assert block(tokens).shape == block.attention(tokens).shape == (None, 7, 32)


def gradients(model):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        logits = model(some_images(), training=True, seeds=tf.constant([5, 6, 7]))
        loss = tf.reduce_mean(tf.square(logits - 1.0))
    return tape.gradient(loss, [w.value for w in model.trainable_weights])


@tensorflow_only
def test_gradients_reach_every_weight(model):
    for weight, gradient in zip(model.trainable_weights, gradients(model), strict=True):
        assert np.abs(gradient).max() > 0 or weight.path.endswith("bias"), weight.path


@tensorflow_only
@pytest.mark.parametrize("name", COMPILED)
def test_gradients_agree_under_xla(name):
    import tensorflow as tf

    # In float64: where a ReLU or a maximum is near its kink, float32's rounding, which XLA does
    # elsewhere, may choose the other side, and the gradient jumps.
    model = FAMILY[name](dtype="float64", **COMPILED[name])
    compiled = tf.function(lambda: gradients(model), jit_compile=True)()
    for weight, a, b in zip(model.trainable_weights, gradients(model), compiled, strict=True):
        scale = np.abs(a).max()
        if weight.path.endswith("bias"):  # a key's bias has none but rounding
            scale = max(scale, 1e-6)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7 * scale, err_msg=weight.path)


@tensorflow_only
@pytest.mark.parametrize("name", ["map", "bottleneck_attention"])
def test_mixed_precision_trains_under_xla(name):
    import tensorflow as tf

    model = FAMILY[name](dtype="mixed_bfloat16", **COMPILED[name])
    assert_finite_float32(model, tf.function(lambda: gradients(model), jit_compile=True)())


@tensorflow_only
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", MIXED)
def test_mixed_precision_trains(name, dtype):
    model = FAMILY[name](dtype=dtype)
    assert_finite_float32(model, gradients(model))


def assert_finite_float32(model, values):
    for weight, value in zip(model.trainable_weights, values, strict=True):
        assert value.dtype == "float32", weight.path
        assert np.isfinite(value).all(), weight.path


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_near_float32(name, dtype):
    reference = FAMILY[name]()
    mixed = FAMILY[name](dtype=dtype)
    mixed.set_weights(reference.get_weights())
    assert all(w.dtype == "float32" for w in mixed.weights)
    got, expected = to_numpy(mixed(some_images())), to_numpy(reference(some_images()))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=0.1 * np.abs(expected).max())


def test_fresh_model_answers_with_the_head_bias():
    model = vit_keras.create_model("mu/16", image_size=32, num_classes=3, head_bias_init=-10.0)
    np.testing.assert_array_equal(to_numpy(model(some_images(size=(32, 32)))), -10.0)


def test_without_classes_the_model_returns_its_features():
    backbone, model = tiny_vit(num_classes=None), tiny_vit()
    backbone.set_weights(model.get_weights()[:-2])
    assert backbone.head is None
    np.testing.assert_array_equal(
        to_numpy(backbone(some_images())), to_numpy(model.features(some_images()))
    )


@tensorflow_only
@pytest.mark.parametrize("make", [tiny_vit, tiny_bit])
def test_compile_fit_evaluate_and_summary(make):
    model = make(num_classes=2)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    images, labels = some_images(8), np.arange(8) % 2
    history = model.fit(images, labels, batch_size=4, epochs=8, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
    assert model.evaluate(images, labels, verbose=0)[1] == 1
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "?" not in lines[0] and f"{model.count_params():,}" in lines[0]


def test_stochastic_depth_grows_linearly_with_depth():
    model = tiny_vit(num_layers=3, stochastic_depth_rate=0.1)
    rates = [block.stochastic_depth_rate for block in model.blocks]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1])


def test_remat_changes_no_gradient():
    if keras.config.backend() != "tensorflow":
        pytest.skip("the gradient is taken with TensorFlow's tape")
    import tensorflow as tf

    plain = tiny_vit(dropout_rate=0.2)
    remat = tiny_vit(dropout_rate=0.2, remat=True)
    remat.set_weights(plain.get_weights())
    seeds = tf.constant([1, 2, 3])
    gradients = []
    for model in (plain, remat):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(some_images(), training=True, seeds=seeds) ** 2)
        gradients.append(tape.gradient(loss, [w.value for w in model.trainable_weights]))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier": "cls"}, "token, gap, map, distilled, token_gap; got 'cls'"),
        ({"classifier": "token", "class_token": False}, "reads the class token: it needs one"),
        ({"classifier": "distilled", "final_norm": "features"}, "reads two vectors"),
        ({"rope": "grid", "position_embedding": "relative"}, "rope and relative .* exclude"),
        ({"rope": "1d"}, "rope must be one of None, normalized, grid; got '1d'"),
        ({"final_norm": "head"}, "tokens, features, none; got 'head'"),
        ({"norm": "batch"}, "layer_norm, rms_norm; got 'batch'"),
        ({"activation": "relu"}, "gelu_tanh, gelu, quick_gelu, silu; got 'relu'"),
        ({"class_names": ["cat"]}, "1 names for 5 classes"),
        ({"preprocessing": {"mean": (0.5,)}}, "deviation must be a number per channel"),
        ({"preprocessing": {"sigma": 1}}, "preprocessing has no sigma"),
        ({"preprocessing": {"interpolation": "area"}}, "nearest, bilinear, bicubic, lanczos"),
        ({"position_embedding": "3d"}, "learned_1d"),
        ({"stem_width_factor": 0.5}, "give stem_units"),
        ({"stem_units": (1,), "patch_size": 1, "stem_width_factor": 0.3}, "nearest: 0.5"),
        (
            {"widht": 32},
            "Ti/16 has no widht; it has activation, .*class_names, class_token, .*preprocessing",
        ),
        ({"axial": True}, "'gap' or 'map'"),
        ({"num_classes": 0}, "num_classes must be an integer of at least 1; got 0"),
        ({"num_layers": 0}, "num_layers must be an integer of at least 1"),
        ({"num_heads": 0}, "num_heads must be an integer of at least 1"),
        ({"mlp_dim": 1.5}, "mlp_dim must be an integer of at least 1; got 1.5"),
        ({"stem_units": (1, 0), "patch_size": 1}, "stem_units must be an integer of at least 1"),
        ({"num_registers": -1}, "num_registers must be an integer of at least 0"),
        ({"stem_units": (1, 1), "patch_size": 1, "image_size": (32, 44)}, r"size 8.*\(32, 48\)"),
        ({"dropout_rate": 1.0}, r"\[0, 1\)"),
        ({"image_size": (32, 0)}, "image_size"),
        ({"width": 36, "num_heads": 8}, "nearest that is: 32"),
    ],
)
def test_wrong_choices(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_vit(**options)


def test_wrong_units_of_bit():
    with pytest.raises(ValueError, match="units must be an integer of at least 1"):
        tiny_bit(units=(1, 0))
    with pytest.raises(ValueError, match="stages must be an integer of at least 1"):
        tiny_bit(units=())


def test_images_of_another_size_are_refused():
    # As many patches as the model has, but elsewhere.
    with pytest.raises(ValueError, match=r"\[batch, 32, 48, 3\]; got \[3, 48, 32, 3\]"):
        tiny_vit()(some_images(size=(48, 32)))
    with pytest.raises(ValueError, match="relative positions of 12 tokens met 16"):
        tiny_bit(image_size=(48, 32), mixers=("axial", "conv"))(some_images(size=(64, 32)))


def test_image_size_may_be_numpys():
    assert tiny_vit(image_size=np.int64(32)).image_size == (32, 32)
