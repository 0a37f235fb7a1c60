"""Names of the family, such as "B/16", "R50+B/16" or "BiT-R50x1", and the sizes they stand for."""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class EncoderSize:
    """Shape of a Transformer encoder.

    Attributes:
        num_layers: encoder blocks.
        width: channels of a token (D in the paper).
        mlp_dim: hidden channels of each MLP.
        num_heads: attention heads; divides `width`.
    """

    num_layers: int
    width: int
    mlp_dim: int
    num_heads: int


# S, B, L, H: the ViT paper, Table 1, and AugReg, Table 1 (Ti, S). The others: "Scaling Vision
# Transformers" (g, G) and google-research/big_vision, models/vit.py (mu, M, So400m, e, *-opt).
ENCODER_SIZES = {
    "mu": EncoderSize(1, 32, 128, 2),
    "Ti": EncoderSize(12, 192, 768, 3),
    "S": EncoderSize(12, 384, 1536, 6),
    "M": EncoderSize(12, 512, 2048, 8),
    "B": EncoderSize(12, 768, 3072, 12),
    "L": EncoderSize(24, 1024, 4096, 16),
    "So400m": EncoderSize(27, 1152, 4304, 16),
    "H": EncoderSize(32, 1280, 5120, 16),
    "g": EncoderSize(40, 1408, 6144, 16),
    "g-opt": EncoderSize(40, 1536, 6144, 16),
    "G": EncoderSize(48, 1664, 8192, 16),
    "G-opt": EncoderSize(48, 1536, 8192, 16),
    "e": EncoderSize(56, 1792, 15360, 16),
}

# Stem of a hybrid, by its name and the total downsampling that the name ends in: units per stage
# of the ResNet, and the patch size on its feature map (ViT paper, section 4.1; vision_transformer,
# configs/models.py).
HYBRID_STEMS: dict[tuple[str, int], tuple[tuple[int, ...], int]] = {
    ("R", 16): ((), 8),
    ("R26", 32): ((2, 2, 2, 2), 1),
    ("R50", 16): ((3, 4, 9), 1),
    ("R50", 32): ((3, 4, 6, 3), 1),
}

# Units per stage (BiT, and He et al., "Deep Residual Learning", Table 1).
RESNET_UNITS = {
    "R50": (3, 4, 6, 3),
    "R101": (3, 4, 23, 3),
    "R152": (3, 8, 36, 3),
    "R200": (3, 24, 36, 3),
}

# ResNet-50 with attention in place of 3×3 convolutions: in every stage (ViT paper, appendix D.5),
# or in the last alone (Bottleneck Transformers).
ATTENTION_RESNETS = {
    "AxialResNet-50": ("axial",) * 4,
    "BoTNet-50": ("conv", "conv", "conv", "attention"),
}

_VIT_NAME = re.compile(
    r"(?:(?P<stem>R[0-9]*)\+|(?P<axial>Axial-))?(?P<size>[A-Za-z]+[0-9]*m?(?:-opt)?)"
    r"/(?P<patch>[1-9][0-9]*)"
)
_BIT_NAME = re.compile(r"BiT-(?P<depth>R[0-9]+)x(?P<factor>[1-9][0-9]*)")


@dataclass(frozen=True)
class Variant:
    """What a name stands for.

    Attributes:
        architecture: "vit" (`VisionTransformer`) or "bit" (`BiTResNet`).
        arguments: what that model's constructor takes for it.
    """

    architecture: Literal["vit", "bit"]
    arguments: dict[str, Any]


def parse_variant(name: str) -> Variant:
    """Read a name: "B/16", "R50+B/16", "Axial-B/32", "BiT-R50x1", "AxialResNet-50", "BoTNet-50".

    Raises:
        ValueError: no name of the family; the message lists what there is.
    """
    if name in ATTENTION_RESNETS:
        arguments = {"width_factor": 1, "mixers": ATTENTION_RESNETS[name]}
        return Variant("bit", {"units": RESNET_UNITS["R50"], **arguments})
    if match := _BIT_NAME.fullmatch(name):
        return Variant("bit", _bit_arguments(name, match))
    if match := _VIT_NAME.fullmatch(name):
        return Variant("vit", _vit_arguments(name, match))
    short = name.lower().removeprefix("vit-")  # as the literature writes "ViT-B/16"
    close = difflib.get_close_matches(short, _names_by_lower_case(), n=1)
    hint = f"; did you mean {_names_by_lower_case()[close[0]]}?" if close else "."
    raise ValueError(
        f"Unknown variant {name!r}: expected SIZE/PATCH such as B/16 (SIZE one of "
        f"{', '.join(ENCODER_SIZES)}), a hybrid such as R50+B/16, Axial-B/32, BiT-R50x1, "
        f"{' or '.join(ATTENTION_RESNETS)}{hint}"
    )


def _names_by_lower_case() -> dict[str, str]:
    """Names of the literature, to find the one that was meant."""
    names = [
        *(
            f"{prefix}{size}/{patch}"
            for prefix in ("", "Axial-")
            for size in ENCODER_SIZES
            for patch in (14, 16, 32)
        ),
        *(f"{stem}+{size}/{patch}" for stem, patch in HYBRID_STEMS for size in ENCODER_SIZES),
        *(f"BiT-{depth}x{factor}" for depth in RESNET_UNITS for factor in (1, 2, 3, 4)),
        *ATTENTION_RESNETS,
    ]
    return {name.lower(): name for name in names}


def _bit_arguments(name: str, match: re.Match[str]) -> dict[str, Any]:
    if match["depth"] not in RESNET_UNITS:
        raise ValueError(
            f"Unknown depth {match['depth']!r} in variant {name!r}: one of "
            f"{', '.join(RESNET_UNITS)}."
        )
    return {"units": RESNET_UNITS[match["depth"]], "width_factor": int(match["factor"])}


def _vit_arguments(name: str, match: re.Match[str]) -> dict[str, Any]:
    size, patch_size = match["size"], int(match["patch"])
    if size not in ENCODER_SIZES:
        # g and G are different models, so the case matters; say so where only that is off.
        same = [known for known in ENCODER_SIZES if known.lower() == size.lower()]
        hint = f"; did you mean {' or '.join(f'{s}/{patch_size}' for s in same)}?" if same else "."
        raise ValueError(
            f"Unknown size {size!r} in variant {name!r}: one of {', '.join(ENCODER_SIZES)}{hint}"
        )
    arguments = {**asdict(ENCODER_SIZES[size]), "patch_size": patch_size}
    if match["axial"]:
        return {**arguments, "axial": True, "classifier": "gap"}
    if match["stem"]:
        stem = (match["stem"], patch_size)
        if stem not in HYBRID_STEMS:
            known = ", ".join(f"{s}+{size}/{p}" for s, p in HYBRID_STEMS)
            raise ValueError(f"Unknown hybrid {name!r}: with {size} there are {known}.")
        units, patch_on_map = HYBRID_STEMS[stem]
        return {**arguments, "stem_units": units, "patch_size": patch_on_map}
    return arguments
