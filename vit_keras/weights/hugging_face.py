"""Layout of Hugging Face's state dicts: ViTForImageClassification, ViTModel and
BitForImageClassification."""

from __future__ import annotations

import re

from vit_keras.bit_resnet import BiTResNet
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.rules import Arrays, Rule, convolution, dense, norm, same, side_by_side
from vit_keras.weights.timm import preactivation_rules

# transformers 5 renamed the parts of ViT; files on the Hub have the old names.
_NEW_NAMES = (
    (re.compile(r"^vit\.layers\.(\d+)\."), r"vit.encoder.layer.\1."),
    (re.compile(r"\.attention\.q_proj\."), ".attention.attention.query."),
    (re.compile(r"\.attention\.k_proj\."), ".attention.attention.key."),
    (re.compile(r"\.attention\.v_proj\."), ".attention.attention.value."),
    (re.compile(r"\.attention\.o_proj\."), ".attention.output.dense."),
    (re.compile(r"\.mlp\.fc1\."), ".intermediate.dense."),
    (re.compile(r"\.mlp\.fc2\."), ".output.dense."),
)


def hugging_face_rules(model: VisionTransformer | BiTResNet) -> list[Rule]:
    """Rules for a plain ViT or a BiT ResNet, under the names that files on the Hub have."""
    return _bit_rules(model) if isinstance(model, BiTResNet) else _vit_rules(model)


def normalise_hugging_face(arrays: Arrays) -> Arrays:
    """Give arrays that transformers 5 named the names that files on the Hub have.

    Those of a bare ViTModel, which has no head, get the prefix that they have beside a head.
    """
    prefix = "vit." if "embeddings.cls_token" in arrays else ""
    renamed = {}
    for key, array in arrays.items():
        old_name = prefix + key
        for pattern, replacement in _NEW_NAMES:
            old_name = pattern.sub(replacement, old_name)
        renamed[old_name] = array
    return renamed


def _vit_rules(model: VisionTransformer) -> list[Rule]:
    embeddings = "vit.embeddings"
    patches = f"{embeddings}.patch_embeddings.projection"
    rules = [
        convolution("patch_embedding/kernel", f"{patches}.weight"),
        same("patch_embedding/bias", f"{patches}.bias"),
    ]
    if model.class_token is not None:
        rules.append(same("class_token/tokens", f"{embeddings}.cls_token"))
        if model.position_embedding == "learned_1d" and model.class_token_positioned:
            rules.append(same("positions/embedding", f"{embeddings}.position_embeddings"))
    for i in range(model.num_layers):
        path, key = f"block_{i}", f"vit.encoder.layer.{i}"
        parts = [f"{key}.attention.attention.{part}" for part in ("query", "key", "value")]
        rules += [
            *norm(f"{path}/attention_norm", f"{key}.layernorm_before"),
            side_by_side(
                f"{path}/attention/qkv/kernel",
                [f"{part}.weight" for part in parts],
                lambda w: w.T,
                lambda a: a.T,
            ),
            side_by_side(
                f"{path}/attention/qkv/bias",
                [f"{part}.bias" for part in parts],
                lambda w: w,
                lambda a: a,
            ),
            *dense(f"{path}/attention/out", f"{key}.attention.output.dense"),
            *norm(f"{path}/mlp_norm", f"{key}.layernorm_after"),
            *dense(f"{path}/mlp/dense_0", f"{key}.intermediate.dense"),
            *dense(f"{path}/mlp/dense_1", f"{key}.output.dense"),
        ]
    rules += norm("encoder_norm", "vit.layernorm")
    if model.head is not None:
        rules += dense("head", "classifier")
    elif model.pre_logits is not None:
        # ViTModel's pooler: a tanh layer over the class token. Beside a head there is none.
        rules += dense("pre_logits", "vit.pooler.dense")
    return rules


def _bit_rules(model: BiTResNet) -> list[Rule]:
    rules = [convolution("root_conv/kernel", "bit.embedder.convolution.weight")]
    keys = [f"stages.{s}.layers.{u}" for s, count in enumerate(model.units) for u in range(count)]
    for unit, key in zip(model.residual_units, keys, strict=True):
        rules += preactivation_rules(unit.name, f"bit.encoder.{key}", unit.project)
    rules += norm("final_norm", "bit.norm")
    if model.head is not None:
        rules += dense("head", "classifier.1")
    return rules
