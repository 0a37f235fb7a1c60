"""Each option of the model reaches it from the command line; one that a family lacks is told."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.model.build_model import BFLOAT16_PRODUCTS, build_model
from pipeline.training.model.model_config import ModelConfig

VIT = {"variant": "Ti/8", "num_layers": "2", "width": "16", "mlp_dim": "32", "num_heads": "2"}
HYBRID = {**VIT, "variant": "R26+Ti/32", "stem_units": "[1,1]", "stem_width_factor": "0.5"}
RESNET = {"variant": "BiT-R50x1", "units": "[1,1]", "width_factor": "0.5"}

# The family it is tried on, the value as written on a command line, and what the model then has.
OPTIONS = {
    "variant": (VIT, "S/8", "S/8"),
    "num_layers": (VIT, "1", 1),
    "width": (VIT, "32", 32),
    "mlp_dim": (VIT, "24", 24),
    "num_heads": (VIT, "4", 4),
    "patch_size": (VIT, "4", 4),
    "stem_units": (HYBRID, "[1]", [1]),
    "stem_width_factor": (HYBRID, "1", 1),
    "units": (RESNET, "[1,1,1]", [1, 1, 1]),
    "width_factor": (RESNET, "1", 1),
    "mixers": (RESNET, "[conv,axial]", ["conv", "axial"]),
    "classifier": (VIT, "map", "map"),
    "representation_size": (VIT, "8", 8),
    "position_embedding": (VIT, "sincos_2d", "sincos_2d"),
    "position_place": (VIT, "shared", "shared"),
    "class_token_positioned": (VIT, "false", False),
    "num_registers": (VIT, "3", 3),
    "qk_norm": (VIT, "true", True),
    "rope": (VIT, "normalized", "normalized"),
    "activation": (VIT, "silu", "silu"),
    "gated_mlp": (VIT, "true", True),
    "norm": (VIT, "rms_norm", "rms_norm"),
    "qkv_bias": (VIT, "false", False),
    "layer_scale_init": (VIT, "0.1", 0.1),
    "dropout_rate": (VIT, "0.1", 0.1),
    "stochastic_depth_rate": (VIT, "0.2", 0.2),
    "remat": (VIT, "true", True),
    "head_bias_init": (VIT, "-10", -10),
}


def parse(**options: str) -> PretrainConfig:
    given = [f"--model.{name}={value}" for name, value in options.items()]
    return command_line.parse(
        PretrainConfig, ["--data.source=x", "--data.image_size=32", "--workdir=y", *given], prog="p"
    )


def build(config: PretrainConfig) -> keras.Model:
    return build_model(config.model, config.data.height_width, 3, seed=config.seed)


def test_every_option_is_tried_here():
    """But for the choice of the weights that are trained, which `test_finetune` tries."""
    of_training = {"frozen_blocks", "lora_rank"}
    assert set(OPTIONS) | of_training == {field.name for field in dataclasses.fields(ModelConfig)}


@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - {"variant"}))
def test_option_reaches_the_model(name):
    family, text, value = OPTIONS[name]
    assert family.get(name) != text
    model = build(parse(**{**family, name: text}))
    assert model.get_config()[name] == value


def test_what_is_not_given_is_the_variants():
    config = parse(variant="Axial-Ti/16", num_layers="1").model
    assert config.classifier is None
    model = build(parse(variant="Axial-Ti/16", num_layers="1"))
    assert model.axial and model.classifier == "gap" and model.width == 192


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**RESNET, "dropout_rate": "0.1"}, "BiT-R50x1 has no dropout_rate; it has .*width_factor"),
        ({**RESNET, "classifier": "token"}, "BiT-R50x1 has no classifier"),
        ({**VIT, "units": "[1]"}, "Ti/8 has no units; it has .*stem_units"),
        ({**RESNET, "width_factor": "0.3"}, "nearest: 0.5"),
        ({**VIT, "width": "15"}, "width"),
        ({"variant": "Axial-Ti/16", "classifier": "token"}, "'gap' or 'map'"),
    ],
)
def test_option_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        build(parse(**options))


def test_products_in_bfloat16_leave_the_residual_stream_in_float32():
    config = ModelConfig("Ti/8", num_layers=6, width=32, mlp_dim=64, num_heads=2)
    images = np.random.default_rng(0).normal(0, 1, (4, 32, 32, 3)).astype(np.float32)
    features = {}
    for policy in ("float32", "mixed_bfloat16", BFLOAT16_PRODUCTS):
        model = build_model(config, (32, 32), 3, seed=0, policy=policy)
        features[policy] = model.features(images).numpy()
    block = model.blocks[0]
    assert block.attention.qkv.compute_dtype == block.mlp.compute_dtype == "bfloat16"
    assert block.attention_norm.compute_dtype == "float32"
    assert block(np.ones((1, 3, 32), np.float32)).dtype == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    error = {name: np.abs(one - features["float32"]).mean() for name, one in features.items()}
    assert 0 < error[BFLOAT16_PRODUCTS] < 0.9 * error["mixed_bfloat16"]
    with pytest.raises(UserError, match="bfloat16_products: this model has no attention"):
        resnet = ModelConfig("BiT-R50x1", units=(1,), width_factor=0.5)
        build_model(resnet, (32, 32), 3, seed=0, policy=BFLOAT16_PRODUCTS)
