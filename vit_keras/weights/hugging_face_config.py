"""The config.json beside Hugging Face's weights, and its preprocessor_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vit_keras.bit_resnet import BiTResNet
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.hugging_face import FAMILIES, family_for

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
}
_WRITTEN = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu"}
_WRITTEN |= {"silu": "silu"}

# Other names of the same layouts: what encloses the image model, and MAE's.
_ALIASES = {
    "clip": "clip_vision_model",
    "siglip": "siglip_vision_model",
    "vit_mae": "vit",
}

# What a BiT ResNet of this package is, of Hugging Face's settings.
_BIT = {
    "layer_type": "preactivation",
    "hidden_act": "relu",
    "global_padding": None,
    "embedding_dynamic_padding": False,
    "num_groups": 32,
    "embedding_size": 64,
    "output_stride": 32,
    "width_factor": 1,
}

_PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def read_hugging_face_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What Hugging Face's config.json tells of a model, as arguments of the model.

    Raises:
        ValueError: a model, or a setting, that is not of this package.
    """
    kind = config.get("model_type")
    if "vision_config" in config:  # of a pair of image and text model
        outer = config
        config = {**config["vision_config"]}
        config.setdefault("id2label", outer.get("id2label"))
    told: dict[str, Any] = {}
    labels = config.get("id2label")
    if labels:
        told["class_names"] = tuple(labels[key] for key in sorted(labels, key=int))
    if kind == "bit":
        for setting, value in _BIT.items():
            if config.get(setting, value) != value:
                raise ValueError(
                    f"a BiT ResNet with {setting} {config[setting]!r} is not of this package."
                )
        return {**told, "conv_epsilon": 1e-8}
    family = FAMILIES.get(_ALIASES.get(str(kind), str(kind)))
    if family is None:
        raise ValueError(
            f"model_type {kind!r} is not of this package: it has "
            f"{', '.join([*FAMILIES, *_ALIASES, 'bit'])}."
        )
    # A config leaves out what its class sets.
    activation = config.get("hidden_act")
    if activation is not None and activation not in _ACTIVATIONS:
        raise ValueError(f"hidden_act {activation!r} is not of this package.")
    if kind in ("vit", "deit") and config.get("pooler_act", "tanh") != "tanh":
        raise ValueError(f"pooler_act {config['pooler_act']!r} is not of this package.")
    told["num_heads"] = config.get("num_attention_heads", family.heads)
    told["activation"] = family.activation if activation is None else _ACTIVATIONS[activation]
    told["norm_epsilon"] = config.get("layer_norm_eps", family.epsilon)
    size = config.get("image_size")
    if size is not None:
        told["image_size"] = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    if kind == "dinov3_vit":
        told["rope_temperature"] = float(config.get("rope_theta", 100.0))
    return told


def read_preprocessor(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a preprocessor_config.json tells, as the fields of `Preprocessing`."""
    told: dict[str, Any] = {}
    if config.get("do_normalize", True) and "image_mean" in config:
        # What rescaling leaves in [0, 255] has a mean and deviation of that range.
        scale = 1 if config.get("do_rescale", True) else 255
        told["mean"] = [value / scale for value in config["image_mean"]]
        told["deviation"] = [value / scale for value in config["image_std"]]
    elif not config.get("do_normalize", True):
        told |= {"mean": [0.0] * 3, "deviation": [1.0] * 3}
    if config.get("resample") in _PILLOW:
        told["interpolation"] = _PILLOW[config["resample"]]
    sides = [_side(config.get(name)) for name in ("crop_size", "size")]
    if config.get("do_center_crop") and sides[0] and sides[1]:
        told["crop"] = min(1.0, sides[0] / sides[1])
    return told


def _side(size: object) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge", size.get("height"))
    return size if isinstance(size, int) else None


def write_hugging_face_config(
    model: VisionTransformer | BiTResNet,
) -> dict[str, Any]:
    """Hugging Face's config.json for a model.

    Raises:
        ValueError: the model has an option that Hugging Face's class for it has not.
    """
    labels: dict[str, Any] = {"num_labels": model.num_classes}
    if model.class_names is not None:
        labels["id2label"] = {str(i): name for i, name in enumerate(model.class_names)}
        labels["label2id"] = {name: i for i, name in enumerate(model.class_names)}
    if model.num_classes is None:
        labels = {}
    if isinstance(model, BiTResNet):
        return {
            "model_type": "bit",
            "architectures": ["BitForImageClassification"],
            "depths": list(model.units),
            "hidden_sizes": [256 * 2**stage for stage in range(len(model.units))],
            **labels,
        }
    family = family_for(model)
    _check_expressible(model, family)
    config: dict[str, Any] = {
        "model_type": family,
        "hidden_size": model.width,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "intermediate_size": model.mlp_dim,
        "hidden_act": _WRITTEN[model.activation],
        "layer_norm_eps": model.norm_epsilon,
        "image_size": _one_or_two(model.image_size),
        "patch_size": model.patch_size,
        **labels,
    }
    if family.startswith("dinov2"):
        config |= {"mlp_ratio": _mlp_ratio(model), "use_swiglu_ffn": model.gated_mlp}
        config |= {"layerscale_value": model.layer_scale_init, "qkv_bias": model.qkv_bias}
    if family in ("vit", "deit", "ijepa"):
        config |= {"qkv_bias": model.qkv_bias, "pooler_act": "tanh"}
        if model.representation_size is not None:
            config["pooler_output_size"] = model.representation_size
    if family in ("dinov2_with_registers", "dinov3_vit"):
        config["num_register_tokens"] = model.num_registers
    if family == "dinov3_vit":
        config |= {"rope_theta": model.rope_temperature, "use_gated_mlp": model.gated_mlp}
        config |= {"query_bias": model.qkv_bias, "value_bias": model.qkv_bias, "key_bias": False}
        config["layerscale_value"] = model.layer_scale_init
    if family == "clip_vision_model" and model.num_classes is not None:
        config["projection_dim"] = model.num_classes
    return config


def write_preprocessor(model: VisionTransformer | BiTResNet) -> dict[str, Any]:
    """Hugging Face's preprocessor_config.json for a model."""
    height, width = model.image_size
    expected = model.preprocessing
    crop = expected.crop or 1.0
    config: dict[str, Any] = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": list(expected.mean),
        "image_std": list(expected.deviation),
        "size": {"height": height, "width": width},
    }
    if crop < 1:
        config["image_processor_type"] = "BitImageProcessor"
        config |= {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
        config["size"] = {"shortest_edge": round(min(height, width) / crop)}
    for code, name in _PILLOW.items():
        if name == expected.interpolation:
            config["resample"] = code
    return config


def _check_expressible(model: VisionTransformer, family: str) -> None:
    """Raise a ValueError that names the first option that the family's class has not."""
    reads = {
        "siglip_vision_model": ("map",),
        "deit": ("distilled",),
        "ijepa": ("gap",),
    }.get(family, ("token",))
    if family.startswith("dinov2") and model.head is not None:
        reads = ("token_gap",)
    expected: dict[str, tuple[object, ...]] = {
        "classifier": reads,
        "final_norm": ("tokens",),
        "norm": ("layer_norm",),
        "pool_prefix": (False,),
        "residual_post_norm": (False,),
        "stem_units": (None,),
        "rope": ("normalized",) if family == "dinov3_vit" else (None,),
        "position_embedding": ("none",) if family == "dinov3_vit" else ("learned_1d",),
        "use_bias": (True,),
    }
    if family.startswith("dinov") and model.layer_scale_init is None:
        raise ValueError(f"Hugging Face's {family} has LayerScale, and {model.name} has none.")
    if model.classifier == "map" and model.head is not None:
        # SiglipForImageClassification reads the mean over the tokens.
        raise ValueError(
            "Layout 'hugging_face' has no place for a head over attention pooling, as "
            f"{model.name} has it; without (num_classes=None) it has."
        )
    if family.startswith("dinov2"):
        expected["activation"] = ("silu",) if model.gated_mlp else ("gelu", "gelu_tanh")
    for option, allowed in expected.items():
        if getattr(model, option) not in allowed:
            raise ValueError(
                f"Layout 'hugging_face' has no place for {option} {getattr(model, option)!r} of "
                f"{model.name}: its {family} has {' or '.join(map(repr, allowed))}."
            )


def _mlp_ratio(model: VisionTransformer) -> int:
    """DINOv2's whole number, from which Hugging Face's code makes the hidden width."""
    for ratio in range(1, 1 + 2 * model.mlp_dim // model.width):
        hidden = model.width * ratio
        if (((hidden * 2 // 3) + 7) // 8 * 8 if model.gated_mlp else hidden) == model.mlp_dim:
            return ratio
    raise ValueError(
        f"Layout 'hugging_face' has no place for mlp_dim {model.mlp_dim} of {model.name}: it is no "
        f"multiple of the width {model.width} that its DINOv2 can have."
    )


def _one_or_two(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)
