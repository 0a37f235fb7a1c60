"""Small corpora, and what a job wrote, for the tests of `beam_jobs`."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from beam_jobs import build_dataset
from beam_jobs.dataset import shards
from beam_jobs.dataset.example import Example, deserialize
from beam_jobs.dataset.shards import Shard

ALL = ("--splits", "train:1")
"""Arguments of `build`: one split."""
REPOSITORY = Path(__file__).parent.parent.parent


def picture(seed: int = 0, size: tuple[int, int] = (30, 20)) -> Image.Image:
    """A smooth color picture, (width, height) `size`, different in each corner."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), np.int16)


def tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def make_folder(root: Path, classes: int = 3, per_class: int = 12) -> Path:
    """Class folders with clean JPEGs at several depths."""
    for number in range(classes * per_class):
        name = f"class_{number % classes}/{'deep/er/' * (number % 2)}image {number}.jpg"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number)))
    return root


def hostile_corpus(root: Path) -> Path:
    """Class folders whose names try to break a page, and pairs of equal images in two of them."""
    names = ["<script>window.broken = 1<", '"><img src=x onerror=window.broken=1>', "$\\frac{1$"]
    names += ["猫", "قطة", "a_name_without_any_space_" * 8]
    for label, name in enumerate(names):
        for number in range(4):
            path = root / name / f"image {number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            # the second class has the images of the first
            seed = 10 * (label if label != 1 else 0) + number
            path.write_bytes(encoded(picture(seed, (90, 70 + 40 * number))))
    return root


def build(source: Path | str, output: Path | str, *arguments: str) -> None:
    """Run `build_dataset` in this process."""
    sources = ["--input", str(source), "--output", str(output)]
    build_dataset.main([*sources, "--runner", "in_process", *arguments])


def command(*arguments: str) -> subprocess.Popen[str]:
    """Start a job in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )


def examples(folder: Path, split: str = "train") -> list[Example]:
    """What a split of a dataset folder holds, in the order of its shards."""
    (name,) = {path.name.split("-")[0] for path in folder.glob(f"*-{split}.tfrecord-*")}
    count = len(list(folder.glob(f"{name}-{split}.tfrecord-*")))
    return [
        deserialize(record)
        for index in range(count)
        for record in shards.read(str(folder), Shard(name, split, index, count))
    ]


def class_names(folder: Path) -> list[str]:
    return (folder / "label.labels.txt").read_text().splitlines()


def stored(folder: Path, split: str = "train") -> dict[str, tuple[str, bytes]]:
    """Class name and image by key."""
    names = class_names(folder)
    return {e.key: (names[e.labels[0]], e.image) for e in examples(folder, split)}


def rejected(folder: Path) -> dict[str, str]:
    """Reason by key."""
    lines = (folder / "rejected.jsonl").read_text().splitlines()
    return {line["key"]: line["reason"] for line in map(json.loads, lines)}


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of each file by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
