"""The train step as the compilers of TPU and GPU make it: ours beside a Flax ViT's, on any machine.

    python benchmarks/accelerator_programs.py                       # v5e and h100, four sizes
    python benchmarks/accelerator_programs.py --variants Ti/16 --targets v5e

The same for both: forward, softmax cross-entropy, backward, clipping by global norm, AdamW; 64
images of 224 pixels on one chip, 1000 classes, products in bfloat16, weights and moments in float32
and donated. Both are compiled by the same compiler with the same flags, and both programs are read
by the same rules (`pipeline.readiness.compilers.traffic`):

    GFLOP        of the program before the compiler has changed it
    accessed     operands and results of every fused operation
    main memory  those of them that lie in the chip's main memory: on a TPU from v5e on much of an
                 activation stays in its vector memory
    temporaries  what lives within a step, of the compiler's own figures

It needs the extra `aot`, flax and optax. A size takes from one to five minutes a target and side.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["JAX_PLATFORMS"] = "cpu"

from peer_models import CLASSES, SIZE  # noqa: E402

from groundwork.errors import UserError  # noqa: E402 - found through the path set above
from pipeline.data.data_config import DataConfig  # noqa: E402
from pipeline.readiness.compilers.compile_step import Compiled, compile_program  # noqa: E402
from pipeline.readiness.compilers.targets import Target, find_target  # noqa: E402
from pipeline.recipe.run_config import PretrainConfig  # noqa: E402
from pipeline.training.model.model_config import ModelConfig  # noqa: E402
from pipeline.training.optimizers.optim_config import OptimConfig  # noqa: E402

FIGURES = ("GFLOP", "accessed GB", "main memory GB", "temporaries MB", "arguments MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--variants", nargs="+", default=["Ti/16", "S/16", "B/16", "L/16"])
    parser.add_argument("--targets", nargs="+", default=["v5e", "h100"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--keep", type=Path, help="folder for the optimized HLO of all programs")
    options = parser.parse_args()
    targets = [find_target(name) for name in options.targets]
    print(f"{'':24}" + "".join(f"{name:>16}" for name in FIGURES) + f"{'compiled in':>14}")
    for variant in options.variants:
        programs = {"ours": (ours(variant, options.batch), False)}
        programs["flax"] = (flax(variant, options.batch), True)
        for target in targets:
            rows = {}
            for name, (program, stablehlo) in programs.items():
                keep = options.keep and options.keep / (
                    f"{name}_{variant.replace('/', '')}_{target.name}.hlo.txt"
                )
                compiled = compile_one(program, target, stablehlo, keep)
                rows[name] = figures(compiled)
                seconds = compiled.answer["compile_seconds"]
                show(f"{variant} {target.name} {name}", rows[name], f"{seconds:.0f} s")
            ratios = [a / b for a, b in zip(rows["ours"], rows["flax"], strict=True)]
            show("  ours to flax", ratios, "")


def ours(variant: str, batch: int) -> bytes:
    from pipeline.readiness.compilers.lower import lower_step

    config = PretrainConfig(
        data=DataConfig(source="", image_size=SIZE),
        workdir="",
        model=ModelConfig(variant),
        optim=OptimConfig(weight_decay=0.1),
        batch_size=batch,
    )
    return lower_step(config, num_classes=CLASSES, policy="mixed_bfloat16", replicas=1).hlo


def flax(variant: str, batch: int) -> bytes:
    """Lowered in a process of its own: TensorFlow and JAX need not share one."""
    command = [sys.executable, str(Path(__file__).with_name("flax_vit.py")), variant, str(batch)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def compile_one(program: bytes, target: Target, stablehlo: bool, keep: Path | None) -> Compiled:
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
    return compile_program(program, target, replicas=1, stablehlo=stablehlo, keep_text=keep)


def figures(compiled: Compiled) -> list[float]:
    answer, traffic = compiled.answer, compiled.traffic
    return [
        answer["flops"] / 1e9,
        traffic.bytes_accessed / 1e9,
        traffic.memory_bytes / 1e9,
        answer["temporary_bytes"] / 1e6,
        answer["argument_bytes"] / 1e6,
    ]


def show(name: str, numbers: list[float], end: str) -> None:
    print(
        f"{name:24}" + "".join(f"{number:16.4g}" for number in numbers) + f"{end:>14}", flush=True
    )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
