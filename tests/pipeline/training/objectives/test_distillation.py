"""Distillation: the distances, the same view for both, the same weights however it is run."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from exported_models import tiny_vit
from finished_runs import assert_bitwise_equal, checkpoint_values, rows, stop_at
from trained_steps import assert_same, train

from groundwork.errors import UserError
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.devices.strategy import mirrored_strategy
from pipeline.named_models.teacher import open_teacher
from pipeline.recipe.check_run_config import check_run_config
from pipeline.run.run_stages import run
from pipeline.serving.export_folder import export_model
from pipeline.training.objectives.distillation import distances, resized
from pipeline.training.objectives.objective_options import DistillationConfig

SHAPES = ("disc", "square", "stripes")


def export_teacher(folder, names=SHAPES, size=16, seed=0, **options):
    model = tiny_vit(image_size=size, num_classes=len(names), seed=seed, num_layers=2)
    export_model(model, EvalPreprocess((size, size)), names, str(folder), variant="tiny", **options)
    return str(folder)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return export_teacher(tmp_path_factory.mktemp("teacher") / "export")


@pytest.fixture
def taught(config, change, teacher):
    return change(config, distillation=DistillationConfig(teacher), data__mixup_alpha=0.8)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_distance_is_the_divergence_of_deit(temperature):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    student, taught = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)
    found = distances(
        tf.constant(student), tf.constant(taught), hard=False, temperature=temperature
    )
    logs = [torch.log_softmax(torch.tensor(v) / temperature, -1) for v in (student, taught)]
    expected = torch.nn.functional.kl_div(*logs, reduction="none", log_target=True).sum(-1)
    np.testing.assert_allclose(found, temperature**2 * expected.numpy(), rtol=1e-5)


def test_hard_distance_is_the_cross_entropy_with_the_chosen_class():
    student, taught = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)
    found = distances(tf.constant(student), tf.constant(taught), hard=True)
    logs = tf.nn.log_softmax(student).numpy()
    np.testing.assert_allclose(found, -logs[range(6), taught.argmax(-1)], rtol=1e-5)


def test_images_are_resized_as_torch_does_it():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    images = np.random.default_rng(0).uniform(-0.4, 0.4, (2, 12, 20, 3)).astype(np.float32)
    found = resized(tf.constant(images), (8, 30))
    expected = torch.nn.functional.interpolate(
        torch.tensor(images).permute(0, 3, 1, 2), (8, 30), mode="bicubic", antialias=True
    )
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_a_student_with_the_teachers_weights_has_nothing_to_learn(taught, change):
    """Function matching: both see the same view, mixed alike."""
    config = change(
        taught,
        model__num_layers=2,
        init_from=taught.distillation.teacher,
        steps=2,
        log__every_steps=1,
        export=False,
    )
    assert run(config) == 0
    losses = [row["train/loss"] for row in rows(config.workdir) if "train/loss" in row]
    assert max(losses) < 1e-5


def test_weights_are_the_same_on_two_replicas_and_by_xla(taught, change, tmp_path):
    """With a teacher of another image size, part of the loss, and hard labels of its own."""
    options = DistillationConfig(export_teacher(tmp_path / "24", size=24), "hard", weight=0.5)
    config = change(taught, distillation=options)
    one = train(config, mirrored_strategy(1))
    assert_same(train(config, mirrored_strategy(2)), one, 1e-5)
    assert_same(train(config, mirrored_strategy(1), jit_compile=True), one, 1e-4)
    unlike = train(change(config, distillation=None), mirrored_strategy(1))
    assert unlike[1][0]["loss"] != pytest.approx(one[1][0]["loss"], rel=1e-3)


def test_a_stopped_run_goes_on_and_only_with_its_own_teacher(taught, change, tmp_path, monkeypatch):
    config = change(taught, steps=4, export=False, data__eval_split=None)
    assert run(config) == 0
    stopped = replace(config, workdir=str(tmp_path / "stopped"))
    with monkeypatch.context() as patched:
        stop_at(patched, 2, signal.SIGTERM)
        assert run(stopped) == 143
    other = export_teacher(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"distillation\.teacher has other weights than the one"):
        run(replace(stopped, distillation=DistillationConfig(other)))
    assert run(stopped) == 0
    assert_bitwise_equal(
        checkpoint_values(stopped.workdir, 4), checkpoint_values(config.workdir, 4)
    )


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (SHAPES[:2], {}, "has 2 classes, the dataset 3: fine-tune it"),
        (SHAPES[::-1], {}, "the dataset has its classes in another order"),
        (SHAPES, {"activation": "sigmoid"}, "was trained with loss sigmoid"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(tmp_path, names, options, message):
    folder = export_teacher(tmp_path / "export", names, **options)
    with pytest.raises(UserError, match=rf"distillation\.teacher {folder}.* {message}"):
        open_teacher(folder, SHAPES, "float32")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "sigmoid"}, "distillation goes with loss=softmax, not with loss=sigmoid"),
        ({"distillation__weight": 0.0}, r"distillation\.weight is 0\.0"),
        ({"distillation__temperature": -1.0}, r"distillation\.temperature is -1\.0"),
        ({"label_smoothing": 0.1}, "weight=1 leaves the labels out: leave label_smoothing out"),
        ({"objective": "masked_patches"}, "masked_patches does not go with"),
    ],
)
def test_options_that_do_not_go_together_are_named(taught, change, fields, message):
    with pytest.raises(UserError, match=message):
        check_run_config(change(taught, **fields))
