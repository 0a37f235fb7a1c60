"""Every variant has its published number of parameters; every wrong name says what is right."""

from __future__ import annotations

import math

import keras
import pytest

import vit_keras
from vit_keras.variants import (
    ATTENTION_RESNETS,
    ENCODER_SIZES,
    HYBRID_STEMS,
    RESNET_UNITS,
    parse_variant,
)

# With a head of 1,000 classes at 224 pixels. Ti to H, g, G and the hybrids: counts of the official
# and AugReg checkpoints (timm's results agree). BiT: as timm's resnetv2_*_bit.
COUNTS = {
    "Ti/16": 5_717_416,
    "S/32": 22_878_952,
    "S/16": 22_050_664,
    "B/32": 88_224_232,
    "B/16": 86_567_656,
    "B/8": 86_576_872,
    "L/32": 306_535_400,
    "L/16": 304_326_632,
    "H/14": 632_045_800,
    "g/14": 1_012_611_432,
    "G/14": 1_844_440_680,
    "R+Ti/16": 6_337_704,
    "R26+S/32": 36_431_912,
    "R26+B/32": 101_383_976,
    "R50+B/16": 98_659_112,
    "R50+B/32": 110_945_832,
    "R50+L/16": 316_483_624,
    "R50+L/32": 328_994_856,
    "BiT-R50x1": 25_549_352,
    "BiT-R50x3": 217_319_080,
    "BiT-R101x1": 44_541_480,
    "BiT-R101x3": 387_934_888,
    "BiT-R152x2": 236_335_208,
    "BiT-R152x4": 936_533_224,
    # No count is published for these. The plain ones follow from the paper's equations 1 to 4; the
    # others are here so that a change is noticed.
    "mu/16": 76_712,
    "M/16": 38_837_736,
    "So400m/14": 413_597_656,
    "g-opt/14": 1_136_101_864,
    "G-opt/14": 1_664_842_216,
    "e/14": 3_807_214_312,
    "Axial-B/16": 171_620_584,
    "Axial-B/32": 173_277_160,
    "BiT-R50x2": 97_988_712,
    "BiT-R152x1": 60_185_128,
    "BiT-R200x3": 568_633_000,
    "AxialResNet-50": 24_355_192,
    "BoTNet-50": 21_660_776,
}


def count(variant, image_size=224, num_classes=1000, **options):
    # Shapes only: the largest model would take 15 GB.
    with keras.StatelessScope(initialize_variables=False):
        model = vit_keras.create_model(
            variant, image_size=image_size, num_classes=num_classes, **options
        )
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize("variant", COUNTS)
def test_count_is_the_published_one(variant):
    assert count(variant) == COUNTS[variant]


def test_no_variant_lacks_a_count():
    plain = {n.split("/")[0] for n in COUNTS if "/" in n and "+" not in n and "Axial" not in n}
    assert plain == set(ENCODER_SIZES)
    assert {(n.split("+")[0], int(n.split("/")[1])) for n in COUNTS if "+" in n} == set(
        HYBRID_STEMS
    )
    assert {n[4:].split("x")[0] for n in COUNTS if n.startswith("BiT-")} == set(RESNET_UNITS)
    assert set(ATTENTION_RESNETS) <= set(COUNTS)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("Ti/16", 5_790_376),
        ("S/32", 22_915_432),
        ("S/16", 22_196_584),
        ("B/32", 88_297_192),
        ("B/16", 86_859_496),
        ("L/32", 306_632_680),
        ("L/16", 304_715_752),
    ],
)
def test_count_at_384_pixels(variant, expected):
    assert count(variant, image_size=384) == expected


@pytest.mark.parametrize(
    ("variant", "classes", "representation", "expected"),
    [
        ("S/16", 1000, 384, 22_198_504),
        ("B/16", 1000, 768, 87_158_248),
        ("L/16", 1000, 1024, 305_376_232),
        ("H/14", 1000, 1280, 633_685_480),
        ("B/32", 21_843, 768, 104_843_091),
        ("B/16", 21_843, 768, 103_186_515),
        ("L/32", 21_843, 1024, 328_949_075),
        ("L/16", 21_843, 1024, 326_740_307),
        ("H/14", 21_843, 1280, 660_385_363),
        ("B/16", 21_843, None, 102_595_923),
        ("Ti/16", None, None, 5_524_416),
        ("L/16", None, None, 303_301_632),
    ],
)
def test_count_with_heads(variant, classes, representation, expected):
    got = count(variant, num_classes=classes, representation_size=representation)
    assert got == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"classifier": "gap"}, 22_049_896),
        ({"classifier": "gap", "position_embedding": "sincos_2d"}, 21_974_632),
        (
            {
                "classifier": "gap",
                "position_embedding": "sincos_2d",
                "representation_size": 384,
            },
            22_122_472,
        ),
    ],
)
def test_count_of_the_better_plain_baselines(options, expected):
    assert count("S/16", **options) == expected


def test_axial_vit_has_twice_the_blocks():
    extra = count("Axial-B/32") - count("B/32", classifier="gap")
    block = 4 * 768**2 + 4 * 768 + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    assert extra == 12 * block


@pytest.mark.parametrize(
    ("variant", "size", "grid"),
    [
        ("B/16", 224, (14, 14)),
        ("B/16", 384, (24, 24)),
        ("B/16", (192, 256), (12, 16)),
        ("B/32", 224, (7, 7)),
        ("H/14", 224, (16, 16)),
        ("R50+B/16", 224, (14, 14)),
        ("R50+B/16", 384, (24, 24)),
        ("R50+B/32", (192, 256), (6, 8)),
        ("R26+S/32", 384, (12, 12)),
        ("R+Ti/16", 224, (7, 7)),
        ("R+Ti/16", 384, (12, 12)),
    ],
)
def test_grid(variant, size, grid):
    with keras.StatelessScope(initialize_variables=False):
        model = vit_keras.create_model(variant, image_size=size, num_classes=None)
    assert model.grid_size == grid
    assert model.positions[0].embedding.shape == (1, grid[0] * grid[1] + 1, model.width)


@pytest.mark.parametrize(("size", "grid"), [(224, (7, 7)), (384, (12, 12)), ((192, 256), (6, 8))])
def test_shapes_without_class_token(size, grid):
    with keras.StatelessScope(initialize_variables=False):
        axial = vit_keras.create_model("Axial-B/32", image_size=size, num_classes=10)
        bit = vit_keras.create_model("BiT-R50x1", image_size=size, num_classes=10)
    assert axial.positions[0].embedding.shape == (1, grid[0] * grid[1], 768)
    shape = bit.root_conv.compute_output_shape((None, *bit.image_size, 3))
    assert shape == (None, 16 * grid[0], 16 * grid[1], 64)
    shape = (None, 8 * grid[0], 8 * grid[1], 64)  # after the pooling
    for unit in bit.residual_units:
        shape = unit.compute_output_shape(shape)
    assert shape == (None, *grid, 2048)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b/16", "did you mean B/16"),
        ("B16", "SIZE/PATCH.*did you mean B/16"),
        ("bit-r50x1", "did you mean BiT-R50x1"),
        ("ViT-B/16", "did you mean B/16"),
        ("vit-b16", "did you mean B/16"),
        ("X/16", "one of mu, Ti"),
        ("R50+B/8", "R50+B/16"),
        ("BiT-R18x1", "R50, R101"),
        ("BiT-R50", "BiT-R50x1"),
        ("", "SIZE/PATCH"),
    ],
)
def test_wrong_names(name, message):
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        parse_variant(name)


def test_image_size_off_the_grid_names_the_nearest():
    with pytest.raises(ValueError, match=r"\(225, 200\).*patch size 16.*\(224, 192\)"):
        vit_keras.create_model("Ti/16", image_size=(225, 200), num_classes=2)


def test_width_off_the_heads_names_the_nearest():
    with pytest.raises(ValueError, match=r"width 190.*num_heads 3.*189"):
        vit_keras.create_model("Ti/16", num_classes=2, width=190)
