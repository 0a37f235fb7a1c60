"""Faults by seed: quick by default; FAULTS_ROUNDS=50, as `make faults` sets it, tries as many."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from dataset_folders import encode, write_dataset_folder

ROUNDS = int(os.environ.get("FAULTS_ROUNDS", "1"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(ROUNDS))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of 48 images, none of which is like another, in 3 shards a split."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 12, 12, 3), np.uint8)
    examples = [(encode(one), i % 3, f"{i}") for i, one in enumerate(pixels)]
    splits = {"train": examples, "validation": examples[:12], "test": examples[:12]}
    folder = tmp_path_factory.mktemp("data") / "noise"
    return write_dataset_folder(folder, splits, ("a", "b", "c"), num_shards=3)


@pytest.fixture(scope="session")
def options(dataset: Path) -> list[str]:
    """A run of a tiny model with every stage, but for its workdir."""
    return [
        f"--data.source={dataset}",
        "--data.image_size=16",
        "--data.shuffle_window=16",
        "--model.variant=Ti/8",
        "--model.num_layers=1",
        "--model.width=16",
        "--model.mlp_dim=32",
        "--model.num_heads=2",
        "--steps=8",
        "--batch_size=8",
        "--optim.warmup_steps=2",
        "--checkpoint.every_steps=2",
        "--checkpoint.keep=3",
        "--log.every_steps=1",
        "--log.images=0",
        "--log.pictures=false",
        f"--transfer.source={dataset}",
    ]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 8 MB, which a run needs, that can be filled and emptied."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
