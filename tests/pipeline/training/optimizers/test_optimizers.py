"""Each optimizer against Keras' own, or against its formulas in NumPy."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import vit_keras
from groundwork.errors import UserError
from pipeline.devices.strategy import mirrored_strategy
from pipeline.training.optimizers.adafactor import factored_axes
from pipeline.training.optimizers.make_optimizer import make_optimizer
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.optimizers.weight_rules import WeightRule, weight_rules

RATE = 0.02
STEPS = 5


def start_and_gradients(*shapes, scale=1.0):
    """Start values and, for every step, gradients."""
    generator = np.random.default_rng(0)
    start = [scale * generator.normal(size=shape).astype("float32") for shape in shapes]
    steps = [[generator.normal(size=s).astype("float32") for s in shapes] for _ in range(STEPS)]
    return start, steps


def run_ours(config, start, steps, rules=None):
    variables = [keras.Variable(value) for value in start]
    rules = rules or [WeightRule(config.weight_decay)] * len(start)
    optimizer = make_optimizer(variables, rules, config)
    for step, gradients in enumerate(steps):
        optimizer.apply([tf.constant(g) for g in gradients], tf.constant(RATE), tf.constant(step))
    return [variable.numpy() for variable in variables], optimizer


def run_keras(reference, start, steps):
    variables = [keras.Variable(value) for value in start]
    for gradients in steps:
        reference.apply([tf.constant(gradient) for gradient in gradients], variables)
    return [variable.numpy() for variable in variables]


def assert_close(found, expected, tolerance=1e-6):
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=tolerance)


@pytest.mark.parametrize("weight_decay", [0.3, 0.0])
def test_lamb_scales_update_and_decay_of_weights_that_decay(weight_decay):
    """As timm's Lamb, to whose formulas NVIDIA's FusedLAMB and DeiT III train."""
    config = OptimConfig(optimizer="lamb", weight_decay=weight_decay, beta2=0.99, epsilon=1e-6)
    start, steps = start_and_gradients((3, 4), (4,))
    start[1][:] = 0.0
    found, _ = run_ours(config, start, steps)
    for index, begun in enumerate(start):
        value, first, second = begun, 0.0, 0.0
        for step, gradients in enumerate(steps, 1):
            first = 0.9 * first + 0.1 * gradients[index]
            second = 0.99 * second + 0.01 * gradients[index] ** 2
            mean, square = first / (1 - 0.9**step), second / (1 - 0.99**step)
            direction = mean / (np.sqrt(square) + 1e-6) + weight_decay * value
            length = np.linalg.norm(value)
            ratio = length / np.linalg.norm(direction) if weight_decay and length else 1.0
            value = value - RATE * ratio * direction
        np.testing.assert_allclose(found[index], value, atol=1e-6)


def test_schedule_free_adamw_is_that_of_its_authors():
    """The recurrences of arXiv 2405.15682 with the rates' squares as weights of the mean."""
    config = OptimConfig(optimizer="schedule_free_adamw", beta1=0.8, beta2=0.9, epsilon=1e-6)
    start, steps = start_and_gradients((3, 4))
    weight = keras.Variable(start[0])
    optimizer = make_optimizer([weight], [WeightRule(0.3)], config)
    between = fast = mean = start[0]
    second = rates = 0.0
    for step, (gradient,) in enumerate(steps):
        rate = RATE * min(step / 2, 1.0, 4 - step)  # 0 at first, then up, and down at the end
        optimizer.apply([tf.constant(gradient)], tf.constant(rate), tf.constant(step))
        second = 0.9 * second + 0.1 * gradient**2
        scaled = gradient / (np.sqrt(second / (1 - 0.9 ** (step + 1))) + 1e-6)
        fast = fast - rate * (scaled + 0.3 * between)
        largest = RATE * min(step / 2, 1.0)
        rates += largest**2
        share = largest**2 / rates if rates else 0.0
        mean = (1 - share) * mean + share * fast
        between = 0.2 * fast + 0.8 * mean
        np.testing.assert_allclose(weight.numpy(), between, atol=1e-6)
        np.testing.assert_allclose(optimizer.averages()[0], mean, atol=1e-6)


def rounded(array):
    """To bfloat16 and back."""
    return tf.cast(tf.cast(array, tf.bfloat16), tf.float32).numpy()


def test_adamw_is_that_of_keras():
    config = OptimConfig(weight_decay=0.3, beta1=0.8, beta2=0.95, epsilon=1e-4)
    start, steps = start_and_gradients((3, 4), (4,))
    reference = keras.optimizers.AdamW(
        RATE, weight_decay=0.3, beta_1=0.8, beta_2=0.95, epsilon=1e-4
    )
    assert_close(run_ours(config, start, steps)[0], run_keras(reference, start, steps))


def test_sgd_is_that_of_keras():
    config = OptimConfig(optimizer="sgd", weight_decay=0.3, momentum=0.8)
    start, steps = start_and_gradients((3, 4), (4,))
    reference = keras.optimizers.SGD(RATE, momentum=0.8, weight_decay=0.3)
    assert_close(run_ours(config, start, steps)[0], run_keras(reference, start, steps))


def test_sgd_without_momentum_remembers_nothing():
    start, steps = start_and_gradients((3, 4))
    found, optimizer = run_ours(OptimConfig(optimizer="sgd", momentum=0.0), start, steps)
    assert optimizer.slots == [{}]
    assert_close(found, [start[0] - RATE * sum(g[0] for g in steps)])


def test_adafactor_without_momentum_is_that_of_keras():
    """Keras' scales by the parameter's size, here below its floor of 1, and factors any matrix."""
    config = OptimConfig(optimizer="adafactor", momentum=0.0)
    start, steps = start_and_gradients((40, 33), (7,), scale=0.1)
    reference = keras.optimizers.Adafactor(
        RATE, relative_step=False, epsilon_2=1.0, clip_threshold=1e9
    )
    assert_close(run_ours(config, start, steps)[0], run_keras(reference, start, steps), 1e-5)


def test_adafactor_averages_directions_and_keeps_them_in_bfloat16():
    config = OptimConfig(
        optimizer="adafactor", momentum=0.9, moment_dtype="bfloat16", weight_decay=0.3
    )
    start, steps = start_and_gradients((36, 40), (36, 5))
    found, optimizer = run_ours(config, start, steps)
    assert {k: v.shape.as_list() for k, v in optimizer.slots[0].items()} == {
        "velocity": [36, 40],
        "second_moment_rows": [36],
        "second_moment_columns": [40],
    }
    assert optimizer.slots[0]["velocity"].dtype == tf.bfloat16
    for index, value in enumerate(start):
        expected, second, velocity = value, 0.0, np.zeros_like(value)
        for step, gradients in enumerate(steps):
            beta2 = min(0.999, 1 - (step + 1) ** -0.8)
            gradient = gradients[index]
            second = beta2 * second + (1 - beta2) * gradient**2
            estimate = second
            if index == 0:
                outer = np.outer(second.mean(1), second.mean(0))
                estimate = outer / second.mean()
            current = 0.9 * velocity + 0.1 * gradient / np.sqrt(estimate)
            velocity = rounded(current)
            expected = expected * (1 - RATE * 0.3) - RATE * current
        np.testing.assert_allclose(found[index], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [([64], None), ([16, 64], None), ([32, 64], (0, 1)), ([7, 7, 64, 32], (3, 2)), ([3, 5], None)],
)
def test_adafactor_factors_the_two_largest_of_enough_dimensions(shape, axes):
    assert factored_axes(shape) == axes


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_moments_stored_in_bfloat16_are_computed_in_float32(name):
    config = OptimConfig(optimizer=name, moment_dtype="bfloat16", epsilon=1e-4)
    start, steps = start_and_gradients((6, 4))
    (found,), _ = run_ours(config, start, steps)
    value, first, second = start[0], np.zeros((6, 4)), 0.0
    for step, (gradient,) in enumerate(steps):
        if name == "sgd":
            current = direction = 0.9 * first + gradient
        else:
            current = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            bias = np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            direction = bias * current / (np.sqrt(second) + 1e-4)
        first = rounded(current)
        value = value - RATE * direction
    np.testing.assert_allclose(found, value, atol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "sgd", "adafactor", "lamb", "keras.Lion"])
def test_a_rule_scales_the_rate_of_its_weight_and_of_its_decay(name):
    config = OptimConfig(optimizer=name)
    start, steps = start_and_gradients((34, 35))
    (full,), _ = run_ours(config, start, steps[:1], [WeightRule(0.5, 1.0)])
    (tenth,), _ = run_ours(config, start, steps[:1], [WeightRule(0.5, 0.1)])
    np.testing.assert_allclose(tenth - start[0], 0.1 * (full - start[0]), atol=1e-6)


@pytest.mark.parametrize(
    "name", ["adamw", "sgd", "adafactor", "lamb", "schedule_free_adamw", "keras.Muon"]
)
def test_a_false_condition_leaves_everything_as_it_is(name):
    variable = keras.Variable(tf.ones([34, 35]))
    optimizer = make_optimizer([variable], [WeightRule(0.5)], OptimConfig(optimizer=name))

    @tf.function
    def apply(condition, gradient):
        optimizer.apply([gradient], tf.constant(RATE), tf.constant(0), condition)

    gradient = tf.fill([34, 35], float("nan"))
    apply(tf.constant(False), gradient)
    for value in (variable.value, *optimizer.memory):
        assert np.ptp(tf.cast(value, tf.float32)) == 0 and np.isfinite(value.numpy()).all()
    apply(tf.constant(True), gradient)
    assert np.isnan(variable.numpy()).all()


def run_on_two_replicas(config, start, steps):
    """Each replica is given the same gradients, as the train step gives them."""
    strategy = mirrored_strategy(2)
    with strategy.scope():
        variables = [keras.Variable(value) for value in start]
        optimizer = make_optimizer(variables, [WeightRule(0.1)] * len(start), config)

    @tf.function
    def apply(gradients, step):
        strategy.run(optimizer.apply, args=(gradients, tf.constant(RATE), step))

    for step, gradients in enumerate(steps):
        apply([tf.constant(gradient) for gradient in gradients], tf.constant(step))
    return [
        [value.numpy() for value in strategy.experimental_local_results(variable.value)]
        for variable in variables
    ]


@pytest.mark.parametrize(
    ("name", "moment_dtype"),
    [
        *itertools.product(["adamw", "sgd", "adafactor", "lamb"], ["float32", "bfloat16"]),
        ("keras.Muon", "float32"),
        ("schedule_free_adamw", "float32"),
    ],
)
def test_two_replicas_and_xla_compute_the_same(name, moment_dtype):
    config = OptimConfig(optimizer=name, moment_dtype=moment_dtype, weight_decay=0.1, epsilon=1e-4)
    start, steps = start_and_gradients((34, 35), (4,))
    plain, _ = run_ours(config, start, steps)
    for replicas, expected in zip(run_on_two_replicas(config, start, steps), plain, strict=True):
        assert_close(replicas, [expected, expected])
    variables = [keras.Variable(value) for value in start]
    optimizer = make_optimizer(variables, [WeightRule(0.1)] * 2, config)
    compiled = tf.function(optimizer.apply, jit_compile=True)
    for step, gradients in enumerate(steps):
        compiled([tf.constant(g) for g in gradients], tf.constant(RATE), tf.constant(step))
    assert_close([variable.numpy() for variable in variables], plain, 1e-4)


def rules_by_path(model, **options):
    rules = weight_rules(model, OptimConfig(**options))
    paths = [weight.path.partition("/")[2] for weight in model.trainable_variables]
    return dict(zip(paths, rules, strict=True))


@pytest.fixture(scope="module")
def vit():
    sizes = {"num_layers": 3, "width": 8, "mlp_dim": 8, "num_heads": 2, "patch_size": 8}
    return vit_keras.create_model("Ti/16", image_size=16, num_classes=3, **sizes)


def test_kernels_decay_and_the_heads_can_have_its_own(vit):
    rules = rules_by_path(vit, weight_decay=0.03, head_weight_decay=3.0)
    for path, rule in rules.items():
        kernel = path.endswith("kernel")
        assert rule.weight_decay == (3.0 if path == "head/kernel" else 0.03 * kernel)
    assert rules["block_1/mlp/dense_0/kernel"].weight_decay == 0.03
    same = rules_by_path(vit, weight_decay=0.03)["head/kernel"]
    assert same.weight_decay == 0.03


def test_the_rate_decays_from_the_head_to_the_embedding(vit):
    rules = rules_by_path(vit, layer_decay=0.5)
    expected = {
        "patch_embedding/kernel": 1 / 16,
        "class_token/tokens": 1 / 16,
        "positions/embedding": 1 / 16,
        "block_0/attention/qkv/kernel": 1 / 8,
        "block_1/mlp/dense_1/bias": 1 / 4,
        "block_2/attention_norm/gamma": 1 / 2,
        "encoder_norm/gamma": 1,
        "head/kernel": 1,
    }
    assert {path: rules[path].rate_scale for path in expected} == expected


def test_layer_decay_needs_encoder_blocks():
    bit = vit_keras.create_model("BiT-R50x1", image_size=32, num_classes=3)
    with pytest.raises(UserError, match=r"optim\.layer_decay: this model has no encoder blocks"):
        weight_rules(bit, OptimConfig(layer_decay=0.75))
