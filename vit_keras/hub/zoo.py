"""The zoo: known weights by name, and what is known of each. One table, and its lookups.

An accuracy stands here only with its source; where none was published, or not for these weights,
there is none. Licenses are those that the place which a name leads to states; where it states none,
there is none. Parameters and FLOPs are computed from the model that the weights belong to.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from vit_keras.create import create_model
from vit_keras.flops import Cost, model_cost

_AUGREG = "AugReg, google-research/vision_transformer, README"
_VIT = "arXiv 2010.11929, Table 5"
_PLAIN = "arXiv 2205.01580"
_FT = "--imagenet2012-steps_20k"
_TOKENS = {"layer_scale_init": 1e-5, "activation": "gelu"}
_DINOV3 = {
    **{"layer_scale_init": 1e-5, "activation": "gelu", "position_embedding": "none"},
    **{"num_registers": 4, "rope": "normalized", "qkv_bias": False, "classifier": "gap"},
    "class_token": True,
}
_MAP = {"classifier": "map", "class_token": False, "activation": "gelu"}


@dataclass(frozen=True)
class Pretrained:
    """Weights with a name.

    Attributes:
        name: what `from_pretrained` takes.
        variant: of `create_model`.
        image_size: pixels per side.
        num_classes: of the head in the file; None: it has none.
        trained_on: images and method.
        license: as the source states it, an SPDX name where it is one; None: not stated.
        accuracy: top-1 on ImageNet's validation images, percent; None: not published, or not of
            these weights.
        source: of the accuracy.
        options: other arguments of `create_model`.
    """

    name: str
    variant: str
    image_size: int
    num_classes: int | None
    trained_on: str
    license: str | None = None
    accuracy: float | None = None
    source: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cost(self) -> Cost:
        """Parameters, and FLOPs at this image size."""
        with keras.StatelessScope(initialize_variables=False):  # shapes only
            model = create_model(
                self.variant,
                image_size=self.image_size,
                num_classes=self.num_classes,
                **self.options,
            )
        return model_cost(model)

    @property
    def line(self) -> str:
        """The line that loads it."""
        return f'vit_keras.from_pretrained("{self.name}")'


def _augreg(
    variant: str, name: str, regularization: str, rate: str, accuracy: float
) -> tuple[Pretrained, Pretrained]:
    """The weights that the AugReg README recommends: of ImageNet-21k, and fine-tuned at 384."""
    full = f"augreg:{name}-i21k-300ep-lr_0.001-{regularization}"
    tuned = f"{full}{_FT}-lr_{rate}-res_384"
    return (
        Pretrained(full, variant, 224, 21_843, "ImageNet-21k", "Apache-2.0"),
        Pretrained(
            tuned,
            variant,
            384,
            1000,
            "ImageNet-21k, then ImageNet",
            "Apache-2.0",
            accuracy,
            _AUGREG,
        ),
    )


def _timm(
    tag: str,
    variant: str,
    image_size: int,
    num_classes: int | None,
    trained_on: str,
    license: str | None,
    **options: Any,
) -> Pretrained:
    name = f"hf://timm/{tag}"
    return Pretrained(name, variant, image_size, num_classes, trained_on, license, options=options)


ZOO: tuple[Pretrained, ...] = (
    *_augreg("Ti/16", "Ti_16", "aug_none-wd_0.03-do_0.0-sd_0.0", "0.03", 78.22),
    *_augreg("S/32", "S_32", "aug_none-wd_0.1-do_0.0-sd_0.0", "0.01", 79.58),
    *_augreg("S/16", "S_16", "aug_light1-wd_0.03-do_0.0-sd_0.0", "0.03", 83.73),
    *_augreg("B/32", "B_32", "aug_light1-wd_0.1-do_0.0-sd_0.0", "0.01", 83.59),
    *_augreg("B/16", "B_16", "aug_medium1-wd_0.1-do_0.0-sd_0.0", "0.03", 85.49),
    *_augreg("L/16", "L_16", "aug_strong1-wd_0.1-do_0.0-sd_0.0", "0.01", 85.59),
    *_augreg("R+Ti/16", "R_Ti_16", "aug_none-wd_0.03-do_0.0-sd_0.0", "0.03", 75.40),
    *_augreg("R26+S/32", "R26_S_32", "aug_light1-wd_0.1-do_0.0-sd_0.0", "0.01", 83.85),
    *_augreg("R50+L/32", "R50_L_32", "aug_medium1-wd_0.1-do_0.1-sd_0.1", "0.01", 85.99),
    *(
        Pretrained(
            f"vit:ViT-{variant.replace('/', '_')}",
            variant,
            224,
            21_843,
            "ImageNet-21k",
            "Apache-2.0",
            options={"representation_size": width},
        )
        for variant, width in (("B/16", 768), ("B/32", 768), ("L/16", 1024), ("L/32", 1024))
    ),
    *(
        Pretrained(
            f"big_vision:vit_s16_i1k_{epochs}ep",
            "S/16",
            224,
            1000,
            f"ImageNet, {epochs} epochs, plain baseline",
            "Apache-2.0",
            accuracy,
            _PLAIN,
            {
                **{"classifier": "gap", "position_embedding": "sincos_2d"},
                "representation_size": 384,
            },
        )
        for epochs, accuracy in ((90, 76.5), (150, 78.5), (300, 80.0))
    ),
    *(
        Pretrained(f"bit:BiT-M-{name}", f"BiT-{name}", 224, 21_843, "ImageNet-21k", "Apache-2.0")
        for name in ("R50x1", "R50x3", "R101x1", "R101x3", "R152x2", "R152x4")
    ),
    *(
        _timm(
            f"vit_{size}_patch16_224.augreg_in21k",
            variant,
            224,
            21_843,
            "ImageNet-21k, AugReg",
            "apache-2.0",
            activation="gelu",
        )
        for size, variant in (("tiny", "Ti/16"), ("small", "S/16"), ("base", "B/16"))
    ),
    *(
        _timm(
            f"vit_{size}_patch16_224.augreg_in21k_ft_in1k",
            variant,
            224,
            1000,
            "ImageNet-21k, then ImageNet, AugReg",
            "apache-2.0",
            activation="gelu",
        )
        for size, variant in (("tiny", "Ti/16"), ("small", "S/16"), ("base", "B/16"))
    ),
    *(
        _timm(
            f"vit_{size}_patch14_{registers}dinov2.lvd142m",
            variant,
            518,
            None,
            "LVD-142M, DINOv2" + (" with registers" if registers else ""),
            "apache-2.0",
            num_registers=4 if registers else 0,
            class_token_positioned=not registers,
            **_TOKENS,
        )
        for registers in ("", "reg4_")
        for size, variant in (("small", "S/14"), ("base", "B/14"), ("large", "L/14"))
    ),
    *(
        _timm(
            f"vit_{size}_patch16_dinov3.lvd1689m",
            variant,
            256,
            None,
            "LVD-1689M, DINOv3",
            "dinov3-license",
            **_DINOV3,
        )
        for size, variant in (("small", "S/16"), ("base", "B/16"), ("large", "L/16"))
    ),
    *(
        _timm(f"vit_{size}_patch16_224.dino", variant, 224, None, "ImageNet, DINO", "apache-2.0")
        for size, variant in (("small", "S/16"), ("base", "B/16"))
    ),
    *(
        _timm(f"vit_{size}_patch16_224.mae", variant, 224, None, "ImageNet, MAE", "cc-by-nc-4.0")
        for size, variant in (("base", "B/16"), ("large", "L/16"))
    ),
    *(
        _timm(
            f"vit_base_patch16_siglip_{side}.v2_webli",
            "B/16",
            side,
            None,
            "WebLI, SigLIP 2",
            "apache-2.0",
            **_MAP,
        )
        for side in (224, 256, 384, 512)
    ),
    Pretrained(
        "hf://google/vit-base-patch16-224",
        "B/16",
        224,
        1000,
        "ImageNet-21k, then ImageNet",
        options={"activation": "gelu"},
    ),
    *(
        Pretrained(
            f"hf://facebook/dinov2-{size}", variant, 518, None, "LVD-142M, DINOv2", options=_TOKENS
        )
        for size, variant in (("small", "S/14"), ("base", "B/14"), ("large", "L/14"))
    ),
)


def list_pretrained(pattern: str = "*") -> list[str]:
    """Names that `from_pretrained` takes: those of the zoo, in its order.

    Any other repository, bucket or server works as well; the zoo is what is known to.

    Args:
        pattern: with `*`, `?` and `[…]`, of the whole name or of its last part: "dino*" finds
            hf://facebook/dinov2-small, "*dinov2*" timm's too, "augreg:*" the official bucket's.

    Example:
        vit_keras.list_pretrained("*dinov2*")
    """
    return [
        model.name
        for model in ZOO
        if any(
            fnmatch.fnmatchcase(name.lower(), pattern.lower())
            for name in (model.name, model.name.rpartition("/")[2], model.name.partition(":")[2])
        )
    ]
