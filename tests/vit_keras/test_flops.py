"""Costs against TensorFlow's profiler on the built graph, and against the paper's Table 6."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from vit_family import FAMILY

import vit_keras
from vit_keras.flops import model_cost, pretraining_flops, variant_cost

JFT_IMAGES = 303_000_000


def profiled_flops(model):
    """FLOPs of everything in the forward graph, for one image of a batch of 8.

    Of a ViT, the graph with all tokens of the last block. A batch, because kernels are
    standardized once per batch, which counts as no image's cost.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    def forward(images):
        if isinstance(model, vit_keras.VisionTransformer):
            return vit_keras.intermediates(model, images).logits
        return model(images, training=False)

    spec = tf.TensorSpec((8, *model.image_size, 3))
    graph = convert_variables_to_constants_v2(
        tf.function(forward).get_concrete_function(spec)
    ).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder(
        tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    )
    profile = tf.compat.v1.profiler.profile(graph, options=options.with_empty_output().build())
    return profile.total_float_ops / 8


# The ratio does not depend on depth: few blocks keep the graph small.
SHALLOW = {
    "S/32": {"num_layers": 2},
    "R26+S/32": {"num_layers": 1},
    "Axial-B/32": {"num_layers": 1},
    "BiT-R50x1": {"units": (1, 1, 1, 1)},
    "BoTNet-50": {"units": (1, 1, 1, 1)},
}


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="TensorFlow's profiler")
@pytest.mark.parametrize(
    "variant", ["Ti/16", "S/32", "R26+S/32", "Axial-B/32", "BiT-R50x1", "BoTNet-50"]
)
def test_forward_flops_against_the_profiler(variant):
    model = vit_keras.create_model(variant, num_classes=1000, **SHALLOW.get(variant, {}))
    ours, theirs = model_cost(model).forward_flops, profiled_flops(model)
    assert ours == pytest.approx(theirs, rel=0.02)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="TensorFlow's profiler")
@pytest.mark.parametrize(
    "options",
    [
        {"classifier": "map"},
        {"position_embedding": "relative"},
        {"gated_mlp": True, "activation": "silu", "mlp_dim": 1024, "rope": "grid"},
        {"classifier": "map", "pool_prefix": True, "class_token": True, "num_registers": 8},
        {"classifier": "distilled", "norm": "rms_norm", "qkv_bias": False, "use_bias": False},
    ],
)
def test_options_against_the_profiler(options):
    model = vit_keras.create_model("S/16", num_classes=10, num_layers=2, **options)
    assert model_cost(model).forward_flops == pytest.approx(profiled_flops(model), rel=0.02)


@pytest.mark.parametrize("name", FAMILY)
def test_every_model_has_a_cost(name):
    model = FAMILY[name]()
    cost = model_cost(model)
    assert cost.parameters == sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert cost.multiply_adds > 0
    assert cost.training_flops == (4 if name == "remat" else 3) * cost.forward_flops


@pytest.mark.parametrize(
    ("variant", "epochs", "exaflops"),
    [
        ("B/32", 7, 55),
        ("B/16", 7, 224),
        ("L/32", 7, 196),
        ("L/16", 7, 783),
        ("L/16", 14, 1567),
        ("H/14", 14, 4262),
        ("BiT-R50x1", 7, 50),
        ("BiT-R50x2", 7, 199),
        ("BiT-R101x1", 7, 96),
        ("BiT-R152x1", 7, 141),
        ("BiT-R152x2", 7, 563),
        ("BiT-R200x3", 14, 3306),
        ("R50+B/32", 7, 106),
        ("R50+B/16", 7, 274),
        ("R50+L/32", 7, 246),
        ("R50+L/16", 7, 859),
    ],
)
def test_table_6_of_the_paper(variant, epochs, exaflops):
    flops = pretraining_flops(variant_cost(variant, num_classes=18_291), JFT_IMAGES, epochs)
    assert flops / 1e18 == pytest.approx(exaflops, rel=0.1)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="Sequential"):
        model_cost(keras.Sequential())
