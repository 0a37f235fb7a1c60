"""Look inside an exported ViT: `python -m pipeline.inspect_model --help`."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groundwork import command_line, storage
from groundwork.errors import UserError
from pipeline.process.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.inspect_model"
SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}
NAMED = 5
"""Files that are named at most, where many are left out."""


@dataclass
class InspectConfig:
    """Draw where a ViT looks and what it has learned, as in the ViT paper's figures 6, 7 and 11."""

    model: str
    """Export folder, workdir, file of weights, or a name such as hf://timm/NAME or vit:ViT-B_16."""
    images: str
    """Folder of images (JPEG, PNG, GIF, BMP, WebP), at any depth."""
    output: str
    """Folder for the pictures, the page index.html, inspection.json and TensorBoard events."""
    max_images: int = 128
    """Images to average attention distance over, drawn evenly from the folders (one per class)."""
    shown_images: int = 8
    """Images to draw attention over, drawn in the same way."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    config = command_line.parse(InspectConfig, argv, prog=PROG)
    if config.max_images < 1 or config.shown_images < 1:
        raise UserError("max_images and shown_images must be at least 1")
    paths, foreign = _files(config.images)
    storage.make_local_folder(config.output, "--output")
    import_tensorflow()
    from pipeline.named_models.evaluated_model import opened_as_export
    from pipeline.serving.inspection import inspect

    with opened_as_export(config.model) as export:
        pictures, skipped = inspect(
            export,
            config.model,
            drawn_evenly(paths)[: config.max_images],
            Path(config.output),
            shown_images=config.shown_images,
        )
    for name, path in pictures.items():
        print(f"{name:20} {path}")
    print(f"{'page':20} {config.output}/index.html")
    if skipped:
        print(f"not read: {', '.join(skipped)}: damaged, or too large", file=sys.stderr)
    if foreign:
        print(f"left out: {_named(foreign)}: convert them to PNG or JPEG", file=sys.stderr)
    return 0


def _files(images: str) -> tuple[list[Path], list[Path]]:
    """The images in a folder at any depth, and the files there that are none, in sorted order."""
    folder = Path(images)
    if not folder.is_dir():
        raise UserError(f"image folder {images} does not exist: give --images a folder")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    foreign = [path for path in files if path.suffix.lower() not in SUFFIXES]
    if not paths:
        found = f", only {_named(foreign)}" if foreign else ""
        raise UserError(
            f"no images in {images}{found}: JPEG, PNG, GIF, BMP and WebP are read; convert others"
        )
    return paths, foreign


def _named(paths: Sequence[Path]) -> str:
    """Files by name, or some of them and the number of the rest."""
    names = ", ".join(path.name for path in paths[:NAMED])
    return names + f" and {len(paths) - NAMED} more" * (len(paths) > NAMED)


def drawn_evenly(paths: Sequence[Path]) -> list[Path]:
    """All of `paths`, so ordered that any first part of them has as many of each folder as can be.

    Within a folder the files are in a random order that is always the same.
    """
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    generator = random.Random(0)
    for files in folders.values():
        generator.shuffle(files)
    rounds = itertools.zip_longest(*folders.values())
    return [path for one_round in rounds for path in one_round if path is not None]


if __name__ == "__main__":
    command_line.run_main(main)
