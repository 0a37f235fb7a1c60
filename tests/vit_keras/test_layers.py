"""Each layer: config and file round trips, and its numbers against an independent answer."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from vit_keras import layers
from vit_keras.layers.activation import ACTIVATIONS
from vit_keras.layers.noise import fold_in, keep_mask
from vit_keras.layers.position_embedding import sincos_2d
from vit_keras.layers.relative_position import relative_logits
from vit_keras.layers.rotary import rotary_table, rotate

TOKENS, MAP = (2, 6, 16), (2, 6, 4, 32)
LAYERS = {
    "SelfAttention": (lambda: layers.SelfAttention(4, qk_norm=True), TOKENS),
    "AttentionPooling": (
        lambda: layers.AttentionPooling(24, 4, "gelu", "rms_norm", 1e-5),
        TOKENS,
    ),
    "AxialAttention": (lambda: layers.AxialAttention(4), MAP),
    "MapAttention": (lambda: layers.MapAttention(4), MAP),
    "AxialBlock": (lambda: layers.AxialBlock((2, 3), mlp_dim=24, num_heads=2), TOKENS),
    "PrependTokens": (lambda: layers.PrependTokens(2, 0.1), TOKENS),
    "Dropout": (lambda: layers.Dropout(0.3), TOKENS),
    "StochasticDepth": (lambda: layers.StochasticDepth(0.3), TOKENS),
    "EncoderBlock": (
        lambda: layers.EncoderBlock(
            24,
            4,
            layer_scale_init=0.1,
            qk_norm=True,
            activation="silu",
            gated_mlp=True,
            qkv_bias=False,
            use_bias=False,
            attention_inner_norm=True,
            mlp_inner_norm=True,
            norm="rms_norm",
            norm_epsilon=1e-5,
            residual_post_norm=True,
            rope="grid",
        ),
        TOKENS,
    ),
    "LayerScale": (lambda: layers.LayerScale(0.1), TOKENS),
    "Mlp": (lambda: layers.Mlp(24, activation="quick_gelu", inner_norm=True), TOKENS),
    "PatchEmbedding": (lambda: layers.PatchEmbedding(2, 16, use_bias=False), MAP),
    "LearnedPositionEmbedding": (
        lambda: layers.LearnedPositionEmbedding((2, 3), initial_stddev=None),
        TOKENS,
    ),
    "Learned2dPositionEmbedding": (lambda: layers.Learned2dPositionEmbedding((2, 3)), TOKENS),
    "SinCos2dPositionEmbedding": (lambda: layers.SinCos2dPositionEmbedding((1, 5), 1), TOKENS),
    "RelativePositionEmbedding": (lambda: layers.RelativePositionEmbedding(4), TOKENS),
    "PreactivationUnit": (lambda: layers.PreactivationUnit(32, 2, "axial", 1e-6), MAP),
    "ResidualUnit": (lambda: layers.ResidualUnit(32, 2, "pytorch"), MAP),
    "ResNetStem": (lambda: layers.ResNetStem((1, 1), numerics="pytorch"), (2, 32, 48, 3)),
    "StdConv": (lambda: layers.StdConv(8, 3, 2, "fixed"), MAP),
}


def test_no_layer_is_missing_here():
    assert set(LAYERS) == set(layers.__all__)


@pytest.fixture(params=LAYERS)
def layer_and_input(request):
    make, shape = LAYERS[request.param]
    return make(), np.random.default_rng(0).normal(size=shape).astype(np.float32)


def to_numpy(x):
    return ops.convert_to_numpy(x)


@pytest.mark.any_backend
def test_round_trips_and_output_spec(layer_and_input, tmp_path):
    layer, x = layer_and_input
    expected = to_numpy(layer(x))
    assert tuple(layer.compute_output_shape(x.shape)) == expected.shape
    spec = layer.compute_output_spec(keras.KerasTensor(x.shape))
    assert tuple(spec.shape) == expected.shape

    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(to_numpy(again(x)), expected)

    inputs = keras.Input(x.shape[1:], batch_size=x.shape[0])
    keras.Model(inputs, layer(inputs)).save(tmp_path / "layer.keras")
    np.testing.assert_array_equal(
        to_numpy(keras.saving.load_model(tmp_path / "layer.keras")(x)), expected
    )


def tanh_gelu(v):
    return 0.5 * v * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


REFERENCES = {
    "gelu_tanh": tanh_gelu,
    "gelu": lambda v: 0.5 * v * (1 + np.vectorize(math.erf)(v / math.sqrt(2))),
    "quick_gelu": lambda v: v / (1 + np.exp(-1.702 * v)),
    "silu": lambda v: v / (1 + np.exp(-v)),
}


@pytest.mark.any_backend
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_gradients(name):
    x = np.linspace(-6, 6, 101).astype(np.float32)
    x64 = x.astype(np.float64)
    activation, reference = ACTIVATIONS[name], REFERENCES[name]
    np.testing.assert_allclose(to_numpy(activation(x)), reference(x64), atol=2e-6)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            t = tf.constant(x)
            tape.watch(t)
            y = activation(t)
        slope = (reference(x64 + 1e-5) - reference(x64 - 1e-5)) / 2e-5
        np.testing.assert_allclose(tape.gradient(y, t), slope, atol=1e-5)


@pytest.mark.any_backend
@pytest.mark.parametrize("coordinates", ["normalized", "grid"])
def test_rotation_turns_pairs_by_the_angle_of_their_place(coordinates):
    grid, head_dim = (2, 3), 8
    table = rotary_table(grid, head_dim, 1, coordinates, 100.0, reference=4)
    x = np.random.default_rng(0).normal(size=(1, 1, 7, head_dim)).astype(np.float32)
    got = to_numpy(rotate(ops.convert_to_tensor(x), table, coordinates == "grid"))[0, 0]
    np.testing.assert_array_equal(got[0], x[0, 0, 0])  # the class token is not turned
    frequencies = [1.0, 100.0**-0.5]
    for token in range(6):
        place = np.divmod(token, 3)
        angles = []
        for axis in (0, 1):
            share = (place[axis] + 0.5) / grid[axis]
            normalized = 2 * math.pi * (2 * share - 1)
            line = normalized if coordinates == "normalized" else place[axis] / grid[axis] * 4
            angles += [line * f for f in frequencies]
        for k, angle in enumerate(angles):
            pair = (k, k + 4) if coordinates == "normalized" else (2 * k, 2 * k + 1)
            a, b = x[0, 0, token + 1, list(pair)]
            turned = (a + 1j * b) * np.exp(1j * angle)
            expected = [turned.real, turned.imag]
            np.testing.assert_allclose(got[token + 1, list(pair)], expected, atol=1e-5)


def test_unknown_choices_of_layers():
    with pytest.raises(ValueError, match="gelu_tanh, gelu, quick_gelu, silu; got 'relu'"):
        layers.Mlp(24, activation="relu")
    with pytest.raises(ValueError, match="layer_norm, rms_norm; got 'batch'"):
        layers.EncoderBlock(24, 4, norm="batch")
    with pytest.raises(ValueError, match="flax, pytorch; got 'jax'"):
        layers.ResNetStem((1,), numerics="jax")
    with pytest.raises(ValueError, match="multiple of 4 channels; got 6"):
        rotary_table((2, 2), 6, 0, "grid", 100.0)


@pytest.mark.parametrize(("positioned", "deviation"), [(True, 0.02), (False, 1 / 16)])
def test_position_embeddings_start_as_in_their_code(positioned, deviation):
    import vit_keras

    model = vit_keras.create_model(
        "Ti/16",
        image_size=224,
        num_classes=2,
        num_layers=1,
        width=256,
        num_heads=4,
        mlp_dim=8,
        class_token_positioned=positioned,
    )
    table = to_numpy(model.positions[0].embedding)
    assert table.std() == pytest.approx(deviation, rel=0.05)


def test_exact_gelu_becomes_one_operation_of_litert():
    """LiteRT has no erf: only a form that its converter knows can be converted."""
    pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")
    if keras.config.backend() != "tensorflow":
        pytest.skip("TensorFlow's converter")
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    gelu = tf.function(ACTIVATIONS["gelu"], input_signature=[tf.TensorSpec((4, 25))])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([gelu.get_concrete_function()])
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    x = np.linspace(-6, 6, 100).reshape(4, 25).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(got, REFERENCES["gelu"](x.astype(np.float64)), atol=1e-5)


def test_patch_embedding_is_a_strided_convolution():
    x = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
    layer = layers.PatchEmbedding(4, 5)
    layer.build(x.shape)
    layer.bias.assign(np.arange(5))
    expected = np.zeros((2, 2, 3, 5))
    for row in range(2):
        for column in range(3):
            patch = x[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            expected[:, row, column] = np.einsum("bhwc,hwcd->bd", patch, to_numpy(layer.kernel))
    np.testing.assert_allclose(to_numpy(layer(x)), expected + np.arange(5), atol=1e-5)


def test_relative_logits_against_the_double_loop():
    rng = np.random.default_rng(0)
    query, table = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(9, 4))
    expected = np.zeros((2, 3, 5, 5))
    for q in range(5):
        for k in range(5):
            expected[:, :, q, k] = query[:, :, q] @ table[q - k + 4]
    got = relative_logits(query.astype(np.float32), table.astype(np.float32))
    np.testing.assert_allclose(to_numpy(got), expected, atol=1e-5)


def test_axial_block_attends_along_one_axis_at_a_time():
    layer = layers.AxialBlock((3, 4), mlp_dim=8, num_heads=2)
    x = np.random.default_rng(0).normal(size=(1, 12, 8)).astype(np.float32)
    out = to_numpy(layer(x)).reshape(3, 4, 8)
    rows = [to_numpy(layer.row_block(x[:, 4 * r : 4 * r + 4]))[0] for r in range(3)]
    columns = np.stack(rows)
    for c in range(4):
        expected = to_numpy(layer.column_block(columns[None, :, c]))[0]
        np.testing.assert_allclose(out[:, c], expected, atol=1e-5)


def test_sincos_has_the_published_order():
    table = sincos_2d((2, 3), 16).reshape(2, 3, 4, 4)
    frequencies = 10_000.0 ** (-np.arange(4) / 3)
    for y in range(2):
        for x in range(3):
            np.testing.assert_allclose(table[y, x, 0], np.sin(x * frequencies), atol=1e-6)
            np.testing.assert_allclose(table[y, x, 1], np.cos(x * frequencies), atol=1e-6)
            np.testing.assert_allclose(table[y, x, 2], np.sin(y * frequencies), atol=1e-6)
            np.testing.assert_allclose(table[y, x, 3], np.cos(y * frequencies), atol=1e-6)


def test_learned_2d_is_column_then_row():
    layer = layers.Learned2dPositionEmbedding((2, 3), 1)
    zeros = np.zeros((1, 7, 8), np.float32)
    out = to_numpy(layer(zeros))[0]
    np.testing.assert_array_equal(out[0], 0)  # the skipped class token
    patch = out[1:].reshape(2, 3, 8)
    np.testing.assert_array_equal(patch[1, 2, :4], to_numpy(layer.columns)[2])
    np.testing.assert_array_equal(patch[1, 2, 4:], to_numpy(layer.rows)[1])


def test_standardized_kernel():
    for with_, expected in (
        ("deviation", lambda w, m, s: (w - m) / (s + 0.1)),
        ("variance", lambda w, m, s: (w - m) / np.sqrt(s**2 + 0.1)),
    ):
        layer = layers.StdConv(8, 3, epsilon=0.1, epsilon_with=with_)
        layer.build((None, 8, 8, 4))
        kernel = to_numpy(layer.kernel).astype(np.float64)
        mean, std = kernel.mean((0, 1, 2)), kernel.std((0, 1, 2))
        np.testing.assert_allclose(
            to_numpy(layer.standardized_kernel()), expected(kernel, mean, std), atol=1e-5
        )


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_masks_keep_the_right_share_and_are_independent(rate):
    seeds = np.arange(64, dtype=np.int32)  # neighbors, the hardest case for the hash
    mask = to_numpy(keep_mask(seeds, (1000,), rate)).astype(float)
    deviation = math.sqrt(rate * (1 - rate))
    assert abs(mask.mean() - (1 - rate)) < 5 * deviation / math.sqrt(mask.size)
    assert np.abs(mask.mean(1) - (1 - rate)).max() < 5 * deviation / math.sqrt(1000)
    correlation = np.corrcoef(mask)[~np.eye(64, dtype=bool)]
    assert np.abs(correlation).max() < 5.5 / math.sqrt(1000)
    along = np.corrcoef(mask[:, :-1].ravel(), mask[:, 1:].ravel())[0, 1]
    assert abs(along) < 5 / math.sqrt(mask.size)


def test_folded_seeds_differ():
    seeds = np.arange(100, dtype=np.int32)
    folded = np.stack([to_numpy(fold_in(seeds, n)) for n in range(20)])
    assert len(np.unique(folded)) == folded.size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.LearnedPositionEmbedding((2, 3), 1), "must be 7 or 8"),
        (lambda: layers.Learned2dPositionEmbedding((2, 3)), "must be 6"),
        (lambda: layers.SinCos2dPositionEmbedding((2, 3)), "must be 6"),
        (lambda: layers.AxialBlock((2, 3), mlp_dim=8, num_heads=2), "must be 6"),
    ],
)
def test_tokens_that_do_not_fit_the_grid(make, message):
    with pytest.raises(ValueError, match=f"9 tokens do not fit a grid of 2×3.*{message}"):
        make()(np.zeros((1, 9, 8), np.float32))


def test_unknown_choices_of_a_convolution():
    with pytest.raises(ValueError, match="'same' or 'fixed'; got 'valid'"):
        layers.StdConv(8, 3, padding="valid")
    with pytest.raises(ValueError, match="'deviation' or 'variance'; got 'std'"):
        layers.StdConv(8, 3, epsilon_with="std")


def test_dropout_scales_what_it_keeps_and_wants_seeds():
    x = np.ones((4, 50, 8), np.float32)
    layer = layers.Dropout(0.25)
    out = to_numpy(layer(x, training=True, seeds=np.arange(4, dtype=np.int32)))
    assert set(np.unique(out)) == {0, np.float32(1 / 0.75)}
    np.testing.assert_array_equal(to_numpy(layer(x, training=False)), x)
    with pytest.raises(ValueError, match="seeds"):
        layer(x, training=True)


def test_stochastic_depth_drops_whole_examples():
    x = np.ones((64, 5, 8), np.float32)
    seeds = np.arange(64, dtype=np.int32)
    out = to_numpy(layers.StochasticDepth(0.5)(x, training=True, seeds=seeds))
    per_example = out.reshape(64, -1)
    assert np.all(per_example == per_example[:, :1])
    assert set(np.unique(out)) == {0, 2}


def test_initial_values():
    keras.utils.set_random_seed(0)
    block = layers.EncoderBlock(4 * 128, 2)
    block.build((None, 5, 128))
    for kernel, parts in ((block.attention.qkv.kernel, 3), (block.attention.out.kernel, 1)):
        limit = math.sqrt(6 / (128 + 128))  # xavier-uniform of [128, 128], for each part
        for part in np.split(to_numpy(kernel), parts, axis=1):
            assert 0.98 * limit < np.abs(part).max() <= limit
            np.testing.assert_allclose(part.std(), limit / math.sqrt(3), rtol=0.03)
    mlp_limit = math.sqrt(6 / (128 + 512))
    assert 0.98 * mlp_limit < np.abs(to_numpy(block.mlp.dense_0.kernel)).max() <= mlp_limit
    bias = to_numpy(block.mlp.dense_0.bias)
    assert 0 < np.abs(bias).max() < 1e-5
    np.testing.assert_array_equal(to_numpy(block.attention.qkv.bias), 0)
    assert block.mlp_norm.epsilon == 1e-6

    patches = layers.PatchEmbedding(16, 256)
    patches.build((None, 32, 32, 3))
    std = to_numpy(patches.kernel).std()
    np.testing.assert_allclose(std, math.sqrt(1 / 768), rtol=0.02)  # LeCun: 1/fan-in
    positions = layers.LearnedPositionEmbedding((8, 8))
    positions.build((None, 64, 256))
    np.testing.assert_allclose(to_numpy(positions.embedding).std(), 0.02, rtol=0.05)
    token = layers.PrependTokens()
    token.build((None, 64, 8))
    np.testing.assert_array_equal(to_numpy(token.tokens), 0)
