"""All commands of the project under one name: `vit pretrain`, `vit build-dataset`, …

    vit COMMAND --help            what a command does, and its options
    vit --print-completion bash   completion for the shell, also zsh and tcsh

`vit pretrain` is `python -m pipeline.pretrain`; the options are the same.
"""

from __future__ import annotations

import argparse
import importlib
import runpy
import sys
from collections.abc import Sequence

from groundwork.errors import UserError
from groundwork.options import options_of

COMMANDS = {
    # name: module, its options, what it does
    "build-dataset": (
        "beam_jobs.build_dataset",
        "beam_jobs.corpus.corpus_options:CorpusOptions",
        "images to a dataset folder",
    ),
    "verify-dataset": (
        "beam_jobs.verify_dataset",
        "beam_jobs.verify_dataset:Options",
        "whether a dataset folder is whole",
    ),
    "describe-dataset": (
        "beam_jobs.describe_dataset",
        "beam_jobs.describe_dataset:Options",
        "a page about a dataset folder",
    ),
    "find-duplicates": (
        "beam_jobs.find_duplicates",
        "beam_jobs.duplicates.duplicate_options:DuplicateOptions",
        "near-duplicate images",
    ),
    "extract-features": (
        "beam_jobs.extract_features",
        "beam_jobs.extract_features:Options",
        "features of a dataset by an exported model",
    ),
    "render-fractals": (
        "beam_jobs.render_fractals",
        "beam_jobs.render_fractals:Options",
        "a FractalDB dataset",
    ),
    "render-glyphs": (
        "beam_jobs.render_glyphs",
        "beam_jobs.render_glyphs:Options",
        "a dataset of drawn letters",
    ),
    "write-digits": (
        "beam_jobs.write_digits",
        "beam_jobs.write_digits:Options",
        "scikit-learn's handwritten digits as a dataset",
    ),
    "write-fashion-mnist": (
        "beam_jobs.write_fashion_mnist",
        "beam_jobs.write_fashion_mnist:Options",
        "Fashion-MNIST as a dataset",
    ),
    "preflight": (
        "pipeline.preflight",
        "pipeline.readiness.preflight_config:PreflightConfig",
        "whether a run would start, and fit",
    ),
    "pretrain": (
        "pipeline.pretrain",
        "pipeline.recipe.run_config:PretrainConfig",
        "train a Vision Transformer",
    ),
    "finetune": (
        "pipeline.finetune",
        "pipeline.finetuning.finetune_config:FinetuneConfig",
        "your images and a trained model to a classifier",
    ),
    "launch-local": (
        "pipeline.launch_local",
        "pipeline.launch_local:LaunchConfig",
        "train with several processes here",
    ),
    "data-service": (
        "pipeline.data_service",
        "pipeline.data_service:DataServiceConfig",
        "decode and augment on other machines",
    ),
    "export": (
        "pipeline.export",
        "pipeline.serving.export_config:ExportOptions",
        "a SavedModel, ONNX or LiteRT model of a run",
    ),
    "publish": (
        "pipeline.publish",
        "pipeline.publish:PublishConfig",
        "a model to the Hugging Face Hub",
    ),
    "classify": (
        "pipeline.classify",
        "pipeline.classify:ClassifyConfig",
        "the classes of image files",
    ),
    "inspect-model": (
        "pipeline.inspect_model",
        "pipeline.inspect_model:InspectConfig",
        "pictures of what a model has learned",
    ),
    "transfer": (
        "pipeline.transfer",
        "pipeline.evaluation.transfer.transfer_config:TransferConfig",
        "few-shot, linear, k-NN and fine-tuning evaluation",
    ),
    "compare": (
        "pipeline.compare",
        "pipeline.compare:CompareConfig",
        "transfer reports side by side",
    ),
    "compute-study": (
        "pipeline.compute_study",
        "pipeline.study.study_config:StudyConfig",
        "transfer against pre-training compute",
    ),
    "benchmark": (
        "pipeline.benchmark",
        "pipeline.speed.benchmark_config:TrainingBenchmarkConfig",
        "speed of input, training step and serving",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names; it exits itself."""
    name, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name == "--print-completion":
        import shtab

        print(shtab.complete(completion_parser(), shell=arguments[0] if arguments else "bash"))
        return
    if name not in COMMANDS:
        print(f"error: there is no command {name!r}; `vit --help` lists them", file=sys.stderr)
        sys.exit(UserError.exit_status)
    module, _, _ = COMMANDS[name]
    sys.argv = [f"vit {name}", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def usage() -> str:
    """The commands, in the order of the data's way."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, _, what) in COMMANDS.items()]
    return "\n".join(
        ["usage: vit COMMAND [options]", "", *lines, "", "vit COMMAND --help tells its options."]
    )


def completion_parser() -> argparse.ArgumentParser:
    """All commands with the names of their options, for shtab; it parses nothing."""
    parser = argparse.ArgumentParser(prog="vit")
    commands = parser.add_subparsers()
    for name, (_, options, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what)
        module, _, config = options.partition(":")
        for option in options_of(getattr(importlib.import_module(module), config)):
            command.add_argument(f"--{option.name}", choices=option.choices or None)
    return parser


if __name__ == "__main__":
    main()
