"""Which of timm's pre-trained ViTs load: all tags of its vision_transformer, hybrids and deit.

No weights are fetched. Each tag's model is made from timm's own definition with shapes alone, gets
the config.json that timm puts on the Hub, and goes through `vit_keras`' reading as a file would:
every array must have its place and its shape, and what no array tells (heads, activation, epsilon,
pooling, pixels) must be what timm's model has. tests/vit_keras/test_parity_timm.py compares the
numbers, one model of each kind.

    python benchmarks/timm_tags.py [--verbose] [--module vision_transformer]
"""

from __future__ import annotations

import argparse
import collections
import sys
from pathlib import Path

import keras
import numpy as np
import timm
import torch

from vit_keras.weights.config_files import Told
from vit_keras.weights.files import Checkpoint, weights_from
from vit_keras.weights.infer import Asked, infer_model
from vit_keras.weights.timm import is_timm, normalize_timm
from vit_keras.weights.timm_config import read_timm_config

MODULES = ("vision_transformer", "vision_transformer_hybrid", "deit")
ACTIVATIONS = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
POOLS = {"token": "token", "avg": "gap", "map": "map"}


def timm_model(tag):
    with torch.device("meta"):
        classes = timm.get_pretrained_cfg(tag).num_classes
        return timm.create_model(tag, pretrained=False, num_classes=classes).eval()


def check(tag):
    """The error, or None; raises nothing."""
    try:
        theirs = timm_model(tag)
        cfg = timm.get_pretrained_cfg(tag).to_dict()
        arrays = {
            key: np.broadcast_to(np.float32(0), tuple(value.shape))
            for key, value in theirs.state_dict().items()
        }
        config = {"architecture": tag, "global_pool": theirs.global_pool, "pretrained_cfg": cfg}
        if not is_timm(arrays):
            raise ValueError("no timm layout")
        source = Path(tag)
        told = Told("config.json", read_timm_config(config))
        checkpoint = Checkpoint(source, "timm", normalize_timm(arrays), told)
        model_class, arguments = infer_model(checkpoint, Asked({}))
        with keras.StatelessScope(initialize_variables=False):
            ours = model_class(**arguments)
        weights_from(ours, checkpoint)
        return differences(ours, theirs, cfg)
    except (ValueError, RuntimeError, AttributeError) as error:
        return str(error)[:160]


def differences(ours, theirs, cfg):
    """What differs of what no array tells."""
    block = theirs.blocks[0]
    distilled = hasattr(theirs, "dist_token")
    size = cfg["input_size"][1:]
    activation = type(block.mlp.act).__name__
    pairs = {
        "heads": (ours.num_heads, block.attn.num_heads),
        "epsilon": (ours.norm_epsilon, block.norm1.eps),
        "activation": (ours.activation, ACTIVATIONS.get(activation, activation)),
        "classifier": (
            ours.classifier,
            "distilled" if distilled else POOLS[theirs.global_pool],
        ),
        "prefix": (ours.pool_prefix, bool(getattr(theirs, "pool_include_prefix", False))),
        # timm leaves out the rows and columns that make no whole patch.
        "size": (ours.image_size, tuple(s // ours.patch_pixels * ours.patch_pixels for s in size)),
        "mean": (ours.preprocessing.mean, tuple(map(float, cfg["mean"]))),
        "deviation": (ours.preprocessing.deviation, tuple(map(float, cfg["std"]))),
    }
    wrong = [f"{name} {a} instead of {b}" for name, (a, b) in pairs.items() if a != b]
    return "; ".join(wrong) or None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="name the tags that load, too")
    parser.add_argument("--module", nargs="*", default=MODULES, help="modules of timm.models")
    options = parser.parse_args()
    tags = [t for m in options.module for t in timm.list_models(module=m, pretrained=True)]
    results, reasons = {}, collections.defaultdict(list)
    for tag in tags:
        error = check(tag)
        results[tag] = error
        keras.utils.clear_session()
        if options.verbose and error is None:
            print(f"loads    {tag}", flush=True)
        if error is not None:
            reasons[error].append(tag)
            print(f"refused  {tag}: {error}", flush=True)
    loaded = sum(error is None for error in results.values())
    print(f"timm {timm.__version__}: {loaded} of {len(tags)} tags load.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
