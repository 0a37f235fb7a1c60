"""Look inside an exported ViT: `python -m pipeline.inspect_model --help`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.process.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.inspect_model"
SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}


@dataclass
class InspectConfig:
    """Draw where a ViT looks and what it has learned, as in the ViT paper's figures 6, 7 and 11."""

    model: str
    """Export folder, as python -m pipeline.export writes it."""
    images: str
    """Folder of images (JPEG, PNG, GIF, BMP, WebP), at any depth."""
    output: str
    """Folder for the pictures, inspection.json and TensorBoard events."""
    max_images: int = 128
    """Images to average attention distance over, the first in order of their paths."""
    shown_images: int = 8
    """Images to draw attention over."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    config = command_line.parse(InspectConfig, argv, prog=PROG)
    if config.max_images < 1 or config.shown_images < 1:
        raise UserError("max_images and shown_images must be at least 1")
    paths = _image_paths(config)
    import_tensorflow()
    from pipeline.serving.inspection import inspect

    pictures, skipped = inspect(
        config.model, paths, Path(config.output), shown_images=config.shown_images
    )
    for name, path in pictures.items():
        print(f"{name:20} {path}")
    if skipped:
        print(f"not read: {', '.join(skipped)}")
    return 0


def _image_paths(config: InspectConfig) -> list[Path]:
    folder = Path(config.images)
    if not folder.is_dir():
        raise UserError(f"image folder {config.images} does not exist: give --images a folder")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise UserError(f"no images in {config.images}: JPEG, PNG, GIF, BMP or WebP are read")
    return paths[: config.max_images]


if __name__ == "__main__":
    command_line.run_main(main)
