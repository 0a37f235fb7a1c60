"""Four logical devices on one CPU, and a small dataset of real (drawn) images."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode, write_dataset_folder

from beam_jobs import build_dataset
from pipeline.data.data_config import DataConfig
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.loop.loop_options import LogConfig
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.state.checkpoint_config import CheckpointConfig


def pytest_configure() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


def draw_shape(label: int, generator: np.random.Generator) -> np.ndarray:
    """A disc, a square or stripes of random place, size and color on noise: uint8 [h, w, 3]."""
    height, width = generator.integers(20, 40, 2)
    image = generator.integers(0, 60, (height, width, 3))
    y, x = np.mgrid[:height, :width] - generator.integers(8, 14, (2, 1, 1))
    radius = generator.integers(4, 8)
    inside = [x**2 + y**2 < radius**2, np.maximum(abs(x), abs(y)) < radius, (x // 3) % 2 == 0]
    image[inside[label]] = generator.integers(120, 256, 3)
    return image.astype(np.uint8)


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset folder: 90 training and 31 validation images of 3 classes, in 4 shards a split."""
    generator = np.random.default_rng(0)

    def examples(count: int) -> list[tuple[bytes, int, str]]:
        labels = [index % 3 for index in range(count)]
        formats = ("PNG", "JPEG")
        return [
            (encode(draw_shape(label, generator), formats[i % 2]), label, f"{label}/{i}")
            for i, label in enumerate(labels)
        ]

    return write_dataset_folder(
        tmp_path_factory.mktemp("data") / "shapes",
        {"train": examples(90), "validation": examples(31)},
        ("disc", "square", "stripes"),
        num_shards=4,
    )


@pytest.fixture(scope="session")
def tags_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset folder of `build_dataset --multi_label`: 96 training and 32 validation images, each
    of any number of the classes red, green and blue, whose light it has."""
    folder = tmp_path_factory.mktemp("tags")
    generator = np.random.default_rng(0)
    rows = []
    for index in range(128):
        lit = generator.integers(0, 2, 3)
        pixels = generator.integers(0, 120, (18, 20, 3)) + 130 * lit
        (folder / f"{index}.png").write_bytes(encode(pixels.astype(np.uint8)))
        names = [name for name, on in zip(("red", "green", "blue"), lit, strict=True) if on]
        split = "validation" if index % 4 == 0 else "train"
        rows.append(json.dumps({"path": f"{index}.png", "label": names, "split": split}))
    (folder / "tags.jsonl").write_text("\n".join(rows))
    output = str(folder / "dataset")
    arguments = ["--input", str(folder / "tags.jsonl"), "--output", output, "--multi_label", "true"]
    build_dataset.main([*arguments, "--shards", "2", "--runner", "in_process"])
    return Path(output)


@pytest.fixture
def config(shapes_folder: Path, tmp_path: Path) -> PretrainConfig:
    """A run of a tiny model on the shapes."""
    return PretrainConfig(
        data=DataConfig(source=str(shapes_folder), image_size=16, shuffle_window=32),
        workdir=str(tmp_path / "run"),
        model=ModelConfig("Ti/8", num_layers=2, width=16, mlp_dim=32, num_heads=2),
        optim=OptimConfig(peak_lr=3e-3, warmup_steps=2, weight_decay=0.1),
        checkpoint=CheckpointConfig(every_steps=4, keep=2),
        log=LogConfig(every_steps=2, images=4),
        steps=10,
        batch_size=16,
        eval_batch_size=8,
    )


@pytest.fixture
def change():
    """Copy a configuration with some fields changed; `section__field` reaches into a section."""

    def changed(config: PretrainConfig, **fields: object) -> PretrainConfig:
        for name, value in fields.items():
            section, _, field = name.partition("__")
            part = getattr(config, section)
            new = dataclasses.replace(part, **{field: value}) if field else value
            config = dataclasses.replace(config, **{section: new})
        return config

    return changed
