"""The zoo: what it says of its models is what they are."""

from __future__ import annotations

import pytest

import vit_keras
from vit_keras.hub.zoo import ZOO


def test_names_are_found_by_pattern():
    names = vit_keras.list_pretrained()
    assert len(set(names)) == len(names) == len(ZOO)
    found = vit_keras.list_pretrained("dino*")
    assert "hf://facebook/dinov2-small" in found and len(found) < len(names)
    assert "hf://timm/vit_small_patch14_dinov2.lvd142m" in vit_keras.list_pretrained("*DINOv2*")
    assert "vit:ViT-B_16" in vit_keras.list_pretrained("vit:*")
    assert vit_keras.list_pretrained("nothing") == []


def test_an_accuracy_has_a_source():
    assert all((model.accuracy is None) == (model.source is None) for model in ZOO)
    assert sum(model.accuracy is not None for model in ZOO) == 12


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vit:ViT-B_16", 103_186_515),
        ("vit:ViT-L_32", 328_949_075),
        ("big_vision:vit_s16_i1k_90ep", 22_122_472),
        ("hf://timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", 5_717_416),
        ("hf://google/vit-base-patch16-224", 86_567_656),
        ("hf://timm/vit_base_patch16_224.mae", 85_798_656),
    ],
)
def test_sizes_are_those_of_the_literature(name, parameters):
    (model,) = [model for model in ZOO if model.name == name]
    assert model.cost.parameters == parameters
