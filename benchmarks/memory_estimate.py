"""The estimate of `preflight` beside what the compilers of TPU and GPU allocate, on any machine.

    python benchmarks/memory_estimate.py                               # h100 and v3, all
    python benchmarks/memory_estimate.py --targets h100 --models ViT --options plain remat

A ViT, an Axial-ViT, a hybrid and a BiT at their full width and few blocks, in bfloat16 with AdamW:
plain, with rematerialization, in two microbatches, with dropout, a moving average, and SAM. Both
columns are of the program of one chip, so without the batch that waits for its turn.

It needs the extra `aot`. On two idle cores a program takes from 10 s (h100) to minutes (v3).
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from groundwork.errors import UserError
from pipeline.data.data_config import DataConfig
from pipeline.readiness.compilers.targets import find_target
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.optimizers.optim_config import OptimConfig

CLASSES = 1000
MODELS = {
    # name: variant, blocks (None: all), images at once
    "ViT": ("S/16", 6, 64),
    "Axial-ViT": ("Axial-B/32", 2, 64),
    "hybrid": ("R26+S/32", 2, 32),
    "BiT": ("BiT-R50x1", None, 16),
}
OPTIONS = ("plain", "remat", "accumulate", "dropout", "average", "sam")
NOT_OF_BIT = ("remat", "dropout")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--targets", nargs="+", default=["h100", "v3"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=OPTIONS)
    options = parser.parse_args()
    targets = [find_target(name) for name in options.targets]
    print(f"{'':32}{'estimate':>12}{'compiled':>12}{'ratio':>8}")
    import keras

    from pipeline.readiness.compilers.report import policy_of, report_step
    from pipeline.readiness.memory import estimate_of

    for target in targets:
        for name in options.models:
            for option in options.options:
                if name == "BiT" and option in NOT_OF_BIT:
                    continue
                config = config_of(name, option)
                report = report_step(config, target, num_classes=CLASSES)
                memory = estimate_of(
                    config,
                    num_classes=CLASSES,
                    policy=policy_of(config, target),
                    replicas=1,
                    device=target.device,
                )
                estimate, compiled = memory.program, report.memory.total
                print(
                    f"{target.name + ' ' + name + ' ' + option:32}{estimate / 1e6:>9,.0f} MB"
                    f"{compiled / 1e6:>9,.0f} MB{estimate / compiled:>8.3f}",
                    flush=True,
                )
                keras.backend.clear_session()
                gc.collect()


def config_of(name: str, option: str) -> PretrainConfig:
    variant, blocks, images = MODELS[name]
    config = PretrainConfig(
        data=DataConfig(source="", image_size=224),
        workdir="",
        model=ModelConfig(variant, num_layers=blocks),
        optim=OptimConfig(weight_decay=0.1),
        batch_size=images,
        precision="bfloat16",
    )
    match option:
        case "remat":
            return replace(config, model=replace(config.model, remat=True))
        case "accumulate":
            return replace(config, batch_size=2 * images, accumulate=2)
        case "dropout":
            return replace(config, model=replace(config.model, dropout_rate=0.1))
        case "average":
            return replace(config, ema_decay=0.999)
        case "sam":
            return replace(config, optim=replace(config.optim, sam_rho=0.05))
    return config


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
