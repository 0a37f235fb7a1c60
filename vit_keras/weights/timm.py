"""Layout of timm's state dicts: its vision_transformer, vision_transformer_hybrid, resnetv2."""

from __future__ import annotations

from vit_keras.bit_resnet import BiTResNet
from vit_keras.vision_transformer import VisionTransformer
from vit_keras.weights.rules import Rule, convolution, dense, norm, same


def timm_rules(model: VisionTransformer | BiTResNet) -> list[Rule]:
    """Rules for a ViT, a hybrid or a BiT ResNet as timm names their parameters."""
    return _bit_rules(model) if isinstance(model, BiTResNet) else _vit_rules(model)


def _vit_rules(model: VisionTransformer) -> list[Rule]:
    patches = "patch_embed.proj"
    rules = [
        convolution("patch_embedding/kernel", f"{patches}.weight"),
        same("patch_embedding/bias", f"{patches}.bias"),
    ]
    if model.stem is not None:
        rules += _stem_rules(model)
    if model.class_token is not None:
        rules.append(same("class_token/tokens", "cls_token"))
    if model.registers is not None:
        rules.append(same("registers/tokens", "reg_token"))
    if model.position_embedding == "learned_1d" and model.position_place == "stem":
        rules.append(same("positions/embedding", "pos_embed"))
    for i in range(model.num_layers):
        path, key = f"block_{i}", f"blocks.{i}"
        rules += norm(f"{path}/attention_norm", f"{key}.norm1")
        rules += dense(f"{path}/attention/qkv", f"{key}.attn.qkv")
        if model.qk_norm:
            rules += norm(f"{path}/attention/query_norm", f"{key}.attn.q_norm")
            rules += norm(f"{path}/attention/key_norm", f"{key}.attn.k_norm")
        rules += dense(f"{path}/attention/out", f"{key}.attn.proj")
        rules += norm(f"{path}/mlp_norm", f"{key}.norm2")
        rules += dense(f"{path}/mlp/dense_0", f"{key}.mlp.fc1")
        rules += dense(f"{path}/mlp/dense_1", f"{key}.mlp.fc2")
        if model.layer_scale_init is not None:
            rules.append(same(f"{path}/attention_scale/gamma", f"{key}.ls1.gamma"))
            rules.append(same(f"{path}/mlp_scale/gamma", f"{key}.ls2.gamma"))
    rules += norm("encoder_norm", "norm")
    if model.attention_pooling is not None:
        rules += _map_head_rules()
    if model.pre_logits is not None:
        rules += dense("pre_logits", "pre_logits.fc")
    if model.head is not None:
        rules += dense("head", "head")
    return rules


def _map_head_rules() -> list[Rule]:
    path, key = "attention_pooling", "attn_pool"
    return [
        same(f"{path}/probe", f"{key}.latent"),
        *dense(f"{path}/query", f"{key}.q"),
        *dense(f"{path}/key_value", f"{key}.kv"),
        *dense(f"{path}/out", f"{key}.proj"),
        *norm(f"{path}/norm", f"{key}.norm"),
        *dense(f"{path}/mlp/dense_0", f"{key}.mlp.fc1"),
        *dense(f"{path}/mlp/dense_1", f"{key}.mlp.fc2"),
    ]


def _stem_rules(model: VisionTransformer) -> list[Rule]:
    assert model.stem is not None
    backbone = "patch_embed.backbone"
    rules = [
        convolution("stem/conv_root/kernel", f"{backbone}.stem.conv.weight"),
        *norm("stem/gn_root", f"{backbone}.stem.norm"),
    ]
    names = _unit_keys(model.stem.units)
    for unit, name in zip(model.stem.residual_units, names, strict=True):
        path, key = f"stem/{unit.name}", f"{backbone}.{name}"
        for n in (1, 2, 3):
            rules.append(convolution(f"{path}/conv{n}/kernel", f"{key}.conv{n}.weight"))
            rules += norm(f"{path}/gn{n}", f"{key}.norm{n}")
        if unit.project:
            rules.append(convolution(f"{path}/conv_proj/kernel", f"{key}.downsample.conv.weight"))
            rules += norm(f"{path}/gn_proj", f"{key}.downsample.norm")
    return rules


def _bit_rules(model: BiTResNet) -> list[Rule]:
    rules = [convolution("root_conv/kernel", "stem.conv.weight")]
    for unit, key in zip(model.residual_units, _unit_keys(model.units), strict=True):
        rules += preactivation_rules(unit.name, key, unit.project)
    rules += norm("final_norm", "norm")
    if model.head is not None:
        rules.append(_convolution_head("head.fc.weight"))
        rules.append(same("head/bias", "head.fc.bias"))
    return rules


def _convolution_head(key: str) -> Rule:
    """The head, which timm keeps as a 1×1 convolution."""
    return Rule(
        "head/kernel",
        (key,),
        lambda w: [w.T[:, :, None, None]],
        lambda arrays: arrays[0][:, :, 0, 0].T,
    )


def _unit_keys(units: tuple[int, ...]) -> list[str]:
    return [f"stages.{s}.blocks.{u}" for s, count in enumerate(units) for u in range(count)]


def preactivation_rules(path: str, key: str, project: bool) -> list[Rule]:
    """Rules of one unit of a BiT ResNet; Hugging Face names its parts alike."""
    rules = []
    for n in (1, 2, 3):
        rules.append(convolution(f"{path}/conv{n}/kernel", f"{key}.conv{n}.weight"))
        rules += norm(f"{path}/gn{n}", f"{key}.norm{n}")
    if project:
        rules.append(convolution(f"{path}/conv_proj/kernel", f"{key}.downsample.conv.weight"))
    return rules
