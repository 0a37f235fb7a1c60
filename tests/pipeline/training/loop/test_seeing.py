"""What a run shows of itself: scalars, pictures, HParams, profile, model card."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from dataset_folders import encode, write_dataset_folder
from finished_runs import rows

from pipeline.data.data_config import DataConfig
from pipeline.devices.accelerators import Accelerators, gpu_peak_flops, tpu_peak_flops
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.run_stages import run
from pipeline.training.loop.compute_meter import ComputeMeter
from pipeline.training.loop.confusion import count_confusions
from pipeline.training.loop.loop_options import LogConfig
from pipeline.training.loop.metrics_log import MetricsLog
from pipeline.training.loop.pictures import labeled_images
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.state.checkpoint_config import CheckpointConfig
from pipeline.workdir.code_version import code_version

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A run of 6 steps over images of 7 classes, exported."""
    folder = tmp_path_factory.mktemp("seen")
    generator = np.random.default_rng(0)

    def examples(count):
        pixels = generator.integers(0, 256, (count, 20, 20, 3), np.uint8)
        return [(encode(image), i % 7, str(i)) for i, image in enumerate(pixels)]

    splits = {"train": examples(28), "validation": examples(14)}
    config = PretrainConfig(
        data=DataConfig(
            source=str(write_dataset_folder(folder / "data", splits, CLASSES)), image_size=16
        ),
        workdir=str(folder / "run"),
        model=ModelConfig("Ti/8", num_layers=1, width=16, mlp_dim=32, num_heads=2),
        optim=OptimConfig(warmup_steps=2),
        checkpoint=CheckpointConfig(every_steps=2),
        log=LogConfig(every_steps=2, images=4, peak_tflops=0.5, profile_steps=(3, 4)),
        steps=6,
        eval_every_steps=3,
        batch_size=8,
        eval_batch_size=8,
    )
    assert run(config) == 0
    return config


def summaries(config):
    """TensorBoard's values as (tag, step, plugin, value)."""
    (path,) = Path(config.workdir, "tensorboard").glob("events*.v2")
    return [
        (value.tag, event.step, value.metadata.plugin_data.plugin_name, value)
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]


def test_the_log_and_tensorboard_have_the_same_scalars(seen):
    logged = {(name, row["step"]) for row in rows(seen.workdir) for name in row} - {
        ("step", row["step"]) for row in rows(seen.workdir)
    }
    shown = {(tag, step) for tag, step, plugin, _ in summaries(seen) if plugin == "scalars"}
    assert logged == shown
    assert {name for name, _ in logged} == {
        *(f"train/{name}" for name in ("loss", "accuracy", "accuracy_top5", "learning_rate")),
        *(f"train/{name}" for name in ("gradient_norm", "parameter_norm")),
        *(f"eval/{name}" for name in ("loss", "accuracy", "accuracy_top5", "examples", "seconds")),
        *(f"speed/{name}" for name in ("images_per_second", "images_per_second_per_device")),
        *(f"speed/{name}" for name in ("step_seconds", "input_wait_share", "eta_seconds")),
        *(f"speed/{name}" for name in ("first_step_seconds", "checkpoint_seconds")),
        *(f"speed/{name}" for name in ("tflops_per_device", "mfu", "device_hours", "goodput")),
    }
    assert all(math.isfinite(value) for row in rows(seen.workdir) for value in row.values())


def test_rates_agree_with_each_other_and_compiling_does_not_count(seen):
    timed = [row for row in rows(seen.workdir) if "speed/mfu" in row]
    for row in timed:
        assert row["speed/mfu"] == pytest.approx(row["speed/tflops_per_device"] / 0.5)
        assert row["speed/images_per_second"] == pytest.approx(8 / row["speed/step_seconds"])
    first = timed[0]
    assert first["speed/first_step_seconds"] > 10 * first["speed/step_seconds"]
    assert timed[-1]["speed/eta_seconds"] == 0
    spent = 0.0
    for row, steps in zip(timed, (1, 2, 2), strict=True):  # the first of six is compiled
        spent += steps * row["speed/step_seconds"]
        share = spent / 3600 / row["speed/device_hours"]
        assert row["speed/goodput"] == pytest.approx(share, rel=0.05)
    hours = [row["speed/device_hours"] for row in timed]
    assert hours == sorted(hours) and hours[0] > first["speed/first_step_seconds"] / 3600


def test_tensorboard_has_the_pictures(seen):
    pictures = {
        (tag, step): PIL.Image.open(io.BytesIO(value.tensor.string_val[2]))
        for tag, step, plugin, value in summaries(seen)
        if plugin == "images"
    }
    names = ("model/embedding_filters", "model/position_similarity", "eval/confusion_matrix")
    assert set(pictures) == {
        ("train/augmented_images", 0),
        *((name, step) for name in names for step in (3, 6)),
    }
    for picture in pictures.values():
        assert np.asarray(picture).std() > 1  # something is drawn


def test_tensorboard_has_the_hyperparameters(seen):
    from tensorboard.plugins.hparams import metadata

    values = {tag: value for tag, _, plugin, value in summaries(seen) if plugin == "hparams"}
    start = values["_hparams_/session_start_info"]
    parsed = metadata.parse_session_start_info_plugin_data(start.metadata.plugin_data.content)
    assert parsed.hparams["optim.warmup_steps"].number_value == 2
    assert parsed.hparams["model.variant"].string_value == "Ti/8"
    assert "workdir" not in parsed.hparams


def test_a_profile_is_written_when_asked_for(seen):
    assert list(Path(seen.workdir, "tensorboard", "plugins", "profile").rglob("*.xplane.pb"))


def test_the_model_card_tells_what_the_run_knows(seen):
    card = Path(seen.workdir, "export", "README.md").read_text()
    record = json.loads(Path(seen.workdir, "run.json").read_text())[-1]
    description = json.loads(Path(seen.workdir, "export", "export.json").read_text())
    last = [row for row in rows(seen.workdir) if "eval/accuracy" in row][-1]
    images = 6 * 8
    for fact in (
        f"| accuracy | {last['eval/accuracy']:.2%} |",
        f"| top-5 accuracy | {last['eval/accuracy_top5']:.2%} |",
        "| images | 14 |",
        "28 of `train`, 14 of `validation`",
        record["dataset"]["fingerprint"],
        description["fingerprint"],
        ", ".join(CLASSES),
        f"Images seen: {images} (6 steps of 8)",
        f"{images * record['training_flops_per_image']:.3g}",
        "Device-hours",
        'model.signatures["serve"]',
        "probabilities were not calibrated",
        "vit-keras-pipeline",
        "  peak_tflops: 0.5",  # the recipe
    ):
        assert fact in card, fact
    if code_version()["commit"]:
        assert code_version()["commit"] in card or record["code"]["commit"] in card


def test_device_hours_count_the_steps_that_a_kill_lost(tmp_path):
    paths = str(tmp_path / "tensorboard"), str(tmp_path / "metrics.jsonl")
    log = MetricsLog(*paths, 0)
    for step in (2, 4, 6):
        log.scalars(step, {"speed/device_hours": step / 10})
    with Path(paths[1]).open("a") as file:
        file.write('{"step": 8, "speed/dev')
    assert MetricsLog(*paths, 4).device_hours == 0.6
    assert [row["step"] for row in rows(tmp_path)] == [2, 4]


def test_confusions_leave_padding_out_and_name_the_worst():
    labels = np.array([0, 0, 0, 1, 2, 2])
    answers = np.array([0, 1, 1, 1, 0, 2])
    confusions = count_confusions(np.append(labels * 3 + answers, [-1, -1]), 3)
    np.testing.assert_array_equal(confusions.matrix(), [[1, 2, 0], [0, 1, 0], [1, 0, 1]])
    table = confusions.most_confused(CLASSES[:3]).splitlines()
    assert table[2:] == ["| ant | bee | 2 | 66.7% |", "| cat | ant | 1 | 50.0% |"]


def test_small_images_are_enlarged_and_their_class_stands_beneath():
    images = np.full((3, 16, 16, 3), -1.0)
    unnamed = labeled_images(images, [0, 1, 2], [])
    named = labeled_images(images, [0, 1, 2], CLASSES)
    assert named.shape == unnamed.shape == (2 * (96 + 14), 2 * (96 + 2), 3)
    assert (named[:96, :96] == 0).all()
    beneath = np.s_[96:110, :96]
    assert (unnamed[beneath] == 255).all() and (named[beneath] < 128).any()


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA L40S", 362),
        ("Tesla V100-SXM2-16GB", 125),
    ],
)
def test_peaks_of_gpus(name, tflops):
    assert gpu_peak_flops(name) == tflops * 1e12


def test_peaks_of_tpu_slices_count_chips():
    assert tpu_peak_flops("v3-8") == 4 * 123e12
    assert tpu_peak_flops("v5litepod-16") == 16 * 197e12
    assert tpu_peak_flops("v6e-8") == 8 * 918e12
    assert tpu_peak_flops("") is None
    assert gpu_peak_flops("NVIDIA GeForce RTX 2080") is None


def test_goodput_goes_on_where_the_rows_that_are_kept_end(tmp_path):
    """Steps 1 to 4 took 3 of 4 device-hours; step 6, which is lost, another one."""
    jsonl = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 4, "speed/device_hours": 4.0, "speed/goodput": 0.75},
        {"step": 6, "speed/device_hours": 5.0, "speed/goodput": 0.8},
    ]
    jsonl.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with contextlib.closing(MetricsLog(str(tmp_path / "tensorboard"), str(jsonl), 4)) as log:
        assert (log.device_hours, log.useful_hours) == (5.0, 3.0)
    meter = ComputeMeter(Accelerators(1, "GPU", None), 1.0, log.device_hours, log.useful_hours)
    assert meter.goodput(3600.0) == pytest.approx(4 / 5, rel=1e-3)
