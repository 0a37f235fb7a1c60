"""Whole runs: resuming, stopping, killing, and what the user gets wrong."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode, write_dataset_folder
from finished_runs import assert_bitwise_equal, checkpoint_values, rows, stop_at

import vit_keras
from groundwork.errors import InputFailed, TrainingDiverged, UserError
from pipeline.data.batches.distributed_batches import distributed_eval_batches
from pipeline.data.dataset.source import open_source
from pipeline.devices.strategy import mirrored_strategy
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import TransferJob
from pipeline.run import evaluators
from pipeline.run import run_stages as stages
from pipeline.run import train_stage as run_module
from pipeline.run.run_stages import run
from pipeline.training.loop.evaluate import make_evaluate
from pipeline.training.model.build_model import build_model
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.state.train_state import TrainState
from pipeline.workdir.workdir import Workdir


@pytest.fixture
def plain(config, change):
    """A run that trains only."""
    return change(config, export=False, log__images=0, log__pictures=False, model__num_layers=1)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)],
)
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(
    plain, change, monkeypatch, sent, status
):
    plain = change(plain, ema_decay=0.9, model__dropout_rate=0.1)
    whole = change(plain, workdir=plain.workdir + "_whole")
    assert run(whole) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 5, sent)
        assert run(plain) == status
    assert rows(plain.workdir)[-1]["step"] == 4
    assert run(plain) == 0
    assert_bitwise_equal(checkpoint_values(plain.workdir, 10), checkpoint_values(whole.workdir, 10))
    assert [row["step"] for row in rows(plain.workdir)] == [
        row["step"] for row in rows(whole.workdir)
    ]


def test_a_finished_run_does_nothing_more(plain, capsys):
    assert run(plain) == 0
    before = checkpoint_values(plain.workdir, 10)
    files = sorted(Path(plain.workdir, "checkpoints").iterdir())
    assert run(plain) == 0
    assert "resumed at step 10" in capsys.readouterr().out
    assert sorted(Path(plain.workdir, "checkpoints").iterdir()) == files
    assert_bitwise_equal(checkpoint_values(plain.workdir, 10), before)


def test_resuming_on_two_replicas_continues_the_run_of_one(plain, change, monkeypatch):
    # As in test_train_step: Adam divides by the size of gradients that are zero but for rounding.
    plain = change(plain, optim__epsilon=1e-4, ema_decay=0.9, model__dropout_rate=0.1)
    whole = change(plain, workdir=plain.workdir + "_whole")
    run(whole)
    shutil.copytree(whole.workdir, plain.workdir)
    for path in Path(plain.workdir, "checkpoints").glob("ckpt-10.*"):
        path.unlink()
    monkeypatch.setattr(run_module.strategies, "make_strategy", lambda *_: mirrored_strategy(2))
    run(plain)
    found, expected = (checkpoint_values(w, 10) for w in (plain.workdir, whole.workdir))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


def test_evaluation_counts_every_image_once_on_any_number_of_replicas(plain):
    """31 images in batches of 8; and the same compiled by XLA."""
    split = open_source(plain.data.source).split("validation")
    evaluations = []
    for replicas, jit_compile in ((1, False), (4, False), (1, True)):
        strategy = mirrored_strategy(replicas)
        with strategy.scope():
            model = build_model(plain.model, plain.data.height_width, 3, seed=plain.seed)
            state = TrainState(model, plain.optim, seed=0)
        # With a head of zeros all images would count the same.
        kernel = model.get_layer("head").kernel
        kernel.assign(np.random.default_rng(0).normal(0, 0.5, kernel.shape))
        evaluate = make_evaluate(
            strategy,
            state,
            plain,
            split.num_examples,
            jit_compile=jit_compile,
            confusions=True,
        )
        evaluations.append(
            evaluate(
                distributed_eval_batches(
                    strategy, split, plain.data, plain.eval_batch_size or plain.batch_size
                )
            )
        )
    one, *others = evaluations
    assert one.metrics["examples"] == 31
    for other in others:
        assert other.metrics == pytest.approx(one.metrics, rel=1e-5)
        np.testing.assert_array_equal(other.confusions.matrix(), one.confusions.matrix())


def test_a_damaged_newest_checkpoint_is_passed_over(plain, capsys):
    run(plain)
    newest = Path(plain.workdir, "checkpoints", "ckpt-10.data-00000-of-00001")
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2])
    assert run(plain) == 0
    output = capsys.readouterr().out
    assert "ckpt-10 is damaged" in output and "resumed at step 8" in output


def test_a_run_whose_list_of_checkpoints_is_lost_goes_on(plain, change, capsys):
    run(change(plain, steps=8))
    folder = Path(plain.workdir, "checkpoints")
    (folder / "checkpoint").write_bytes(b"")
    assert run(plain) == 0
    assert "resumed at step 8" in capsys.readouterr().out
    assert {path.stem for path in folder.glob("*.index")} == {"ckpt-8", "ckpt-10"}  # keep=2


def test_all_checkpoints_damaged_is_an_error_not_a_new_start(plain):
    run(plain)
    for path in Path(plain.workdir, "checkpoints").glob("*.data*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        run(plain)


def test_a_diverging_run_stops_names_the_step_and_keeps_the_last_good_checkpoint(
    plain, change, monkeypatch
):
    original = run_module.make_train_step

    def make(strategy, state, *arguments, **options):
        step = original(strategy, state, *arguments, **options)

        def poisoned(images, labels, seeds):
            if int(state.step.numpy()) == 6:
                images = images * float("nan")
            return step(images, labels, seeds)

        return poisoned

    monkeypatch.setattr(run_module, "make_train_step", make)
    with pytest.raises(TrainingDiverged, match=r"step 7: loss nan.*checkpoint of step 4 is kept"):
        run(plain)
    values = checkpoint_values(plain.workdir, 4)
    assert all(np.isfinite(value).all() for value in values.values())


def test_resume_precedence(plain, change, capsys):
    """Own workdir, then `resume`, then `init_from`, then scratch."""
    first = change(plain, steps=4, export=True)
    run(first)
    keras_file = f"{first.workdir}/export/model.keras"
    second = change(plain, workdir=plain.workdir + "2", resume=first.workdir, init_from=keras_file)
    run(second)
    assert f"resumed from {first.workdir} at step 4" in capsys.readouterr().out
    run(second)
    assert "resumed at step 10" in capsys.readouterr().out
    third = change(plain, workdir=plain.workdir + "3", init_from=keras_file, optim__peak_lr=0.0)
    run(third)
    assert f"weights from {keras_file}" in capsys.readouterr().out
    start, end = checkpoint_values(first.workdir, 4), checkpoint_values(third.workdir, 10)
    kernels = [name for name in start if "model" in name and "kernel" in name]
    assert len(kernels) > 5
    for name in kernels:
        np.testing.assert_array_equal(end[name], start[name])


@pytest.mark.parametrize("variant", ["BiT-R50x1", "R+Ti/16", "Axial-B/32"])
def test_other_architectures_are_made_from_the_same_configuration(config, change, variant):
    sizes = {f"model__{name}": None for name in ("num_layers", "width", "mlp_dim", "num_heads")}
    config = change(config, model__variant=variant, data__image_size=64, **sizes)
    assert build_model(config.model, config.data.height_width, 3, seed=config.seed).num_classes == 3


def test_an_option_that_an_architecture_lacks_is_named(config, change):
    with pytest.raises(UserError, match=r"model: .*classifier"):
        model = ModelConfig(variant="BiT-R50x1", classifier="gap")
        build_model(model, config.data.height_width, 3, seed=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 15, "accumulate": 2}, "batch_size 15 is not divisible"),
        ({"batch_size": 128}, "larger than the 90 images"),
        ({"resume": "nowhere"}, "no checkpoint in nowhere/checkpoints"),
        ({"init_from": "nowhere.keras"}, "init_from: model nowhere.keras does not exist"),
        ({"strategy": "tpu"}, "no TPU"),
        ({"data__train_split": "trian"}, "no split trian"),
        ({"data__image_size": 20}, "not a multiple of the patch"),
        ({"model__variant": "Q/8"}, "Q"),
        ({"log__profile_steps": (9, 11)}, "profile_steps ends with step 11, the run with step 10"),
    ],
)
def test_bad_input_is_one_line_that_names_the_culprit(plain, change, fields, message):
    with pytest.raises(UserError, match=message) as error:
        run(change(plain, **fields))
    assert "\n" not in str(error.value)


def test_another_model_or_seed_in_the_same_workdir_is_refused(plain, change):
    run(plain)
    with pytest.raises(UserError, match="another model"):
        run(change(plain, model__width=32))
    with pytest.raises(UserError, match="begun with seed 0, not 5"):
        run(change(plain, seed=5))


def test_two_runs_cannot_share_a_workdir(plain):
    with Workdir(plain.workdir).lock(), pytest.raises(UserError, match="another run is writing"):
        run(plain)


@pytest.mark.parametrize(("steps_per_loop", "kept"), [(1, 4), (3, 3)])
def test_an_image_that_cannot_be_decoded_is_one_line_and_a_checkpoint_is_kept(
    plain, change, tmp_path, steps_per_loop, kept
):
    """That of the failing step, but in a loop of steps the one before."""
    image = encode(np.zeros((20, 20, 3), np.uint8))
    # In the order of seed 0 example 86 is in the fifth batch.
    examples = [(image[:40] if i == 86 else image, i % 3, str(i)) for i in range(90)]
    splits = {"train": examples, "validation": examples[:8]}
    damaged = str(write_dataset_folder(tmp_path / "damaged", splits, ("a", "b", "c")))
    plain = change(
        plain, data__source=damaged, steps_per_loop=steps_per_loop, checkpoint__every_steps=3
    )
    message = rf"Invalid PNG.*; the checkpoint of step {kept} is kept: .*verify_dataset --input "
    with pytest.raises(InputFailed, match=r"no batch after step \d: " + message) as error:
        run(plain)
    assert "\n" not in str(error.value) and error.value.exit_status == 1
    assert Path(plain.workdir, "checkpoints", f"ckpt-{kept}.index").exists()


@pytest.mark.parametrize("jit_compile", ["false", "true"])
def test_a_label_that_is_no_class_is_named_with_key_and_shard(plain, change, tmp_path, jit_compile):
    """What XLA compiles would train on with it, without a word."""
    image = encode(np.zeros((20, 20, 3), np.uint8))
    examples = [(image, -1 if i == 17 else i % 3, f"clé {i}") for i in range(32)]
    source = write_dataset_folder(tmp_path / "odd", {"train": examples}, ("a", "b", "c"))
    plain = change(plain, data__source=str(source), data__eval_split=None)
    message = (
        r"label -1 is none of the 3 classes, from 0 on: example clé 17 of .*-00001-of-00002;"
        r" .*checkpoint of step \d is kept"
    )
    with pytest.raises(InputFailed, match=message) as error:
        run(change(plain, jit_compile=jit_compile))
    assert "\n" not in str(error.value)


def test_the_steps_are_kept_whatever_becomes_of_the_evaluation(plain, change, tmp_path):
    image = encode(np.zeros((20, 20, 3), np.uint8))
    examples = [(image, i % 3, str(i)) for i in range(20)]
    splits = {"train": examples, "validation": [*examples[:3], (image[:40], 0, "cut")]}
    damaged = str(write_dataset_folder(tmp_path / "damaged", splits, ("a", "b", "c")))
    plain = change(plain, data__source=damaged, checkpoint__every_steps=100, steps=3)
    for _ in range(2):
        with pytest.raises(
            InputFailed, match=r"no whole evaluation after step 3: .*step 3 is kept"
        ):
            run(plain)
    assert Path(plain.workdir, "checkpoints", "ckpt-3.index").exists()


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.long)],
)
def test_a_signal_in_the_last_evaluation_is_heard(plain, change, monkeypatch, sent, status):
    """The run neither goes on to the export, nor forgets the evaluation at the next start."""
    plain = change(plain, export=True, steps=2)
    original = evaluators.make_evaluate

    def make(*arguments, **options):
        evaluate = original(*arguments, **options)

        def interrupted(batches):
            os.kill(os.getpid(), sent)
            return evaluate(batches)

        return interrupted

    with monkeypatch.context() as patch:
        patch.setattr(evaluators, "make_evaluate", make)
        assert run(plain) == status
    assert "eval/loss" not in rows(plain.workdir)[-1]
    assert not Path(plain.workdir, "export").exists()
    assert run(plain) == 0
    assert "eval/loss" in rows(plain.workdir)[-1]
    assert Path(plain.workdir, "export", "export.json").exists()


def test_published_weights_are_taken_and_what_is_none_is_said(plain, change, tmp_path, capsys):
    model = build_model(plain.model, (32, 32), 7, seed=3)
    weights = str(tmp_path / "weights.npz")
    vit_keras.save_weights(model, weights, "official")
    assert run(change(plain, init_from=weights, optim__peak_lr=0.0, steps=1)) == 0
    assert f"weights from {weights}" in capsys.readouterr().out
    kept = checkpoint_values(plain.workdir, 1)
    taken = [value for name, value in kept.items() if name.startswith("model") and "mlp" in name]
    kernel = model.get_layer("block_0").mlp.weights[0] if taken else None
    assert any(np.array_equal(value, kernel) for value in taken)
    for name in ("bad.npz", "bad.keras", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(UserError, match=f"init_from: model .*{name}") as error:
            run(change(plain, init_from=str(tmp_path / name), workdir=plain.workdir + name))
        assert "\n" not in str(error.value)
    other = build_model(
        replace(plain.model, activation="gelu", num_registers=2), (32, 32), 7, seed=3
    )
    vit_keras.save_weights(other, tmp_path / "other.safetensors", "timm")
    options = {"init_from": str(tmp_path / "other.safetensors"), "workdir": plain.workdir + "2"}
    with pytest.raises(
        UserError, match=r"activation gelu, not gelu_tanh: .*--model.activation gelu"
    ):
        run(change(plain, **options))
    run(change(plain, **options, steps=1, model__activation="gelu"))
    assert "no place for them: registers)" in capsys.readouterr().out


def test_steps_and_epochs_together_name_the_way_out(plain, change):
    with pytest.raises(UserError, match="add --steps null to train for the epochs"):
        check_run_config(change(plain, epochs=3.0))
    with pytest.raises(UserError, match="as --steps 1000"):
        check_run_config(change(plain, steps=None))


def test_nothing_is_said_that_the_user_can_do_nothing_about(plain, change, capfd):
    """Of the augmentation's graph, of a resume, of a checkpoint that does not fit."""
    plain = change(plain, data__augment_preset="strong1", steps=2)
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        run(change(plain, steps=1))
        run(plain)
        with pytest.raises(
            UserError, match=r"another model .*\(model .*\(16,\) there, \(8,\) here"
        ):
            run(change(plain, model__width=8, model__num_heads=2))
        gc.collect()
    finally:
        tf.get_logger().removeHandler(handler)
    assert heard == []


def test_a_transfer_without_source_is_of_the_runs_own_images(plain, change, monkeypatch):
    monkeypatch.setattr(stages, "train", lambda *_: 0)
    monkeypatch.setattr(stages, "export_run", lambda _: None)
    seen = []
    monkeypatch.setattr(stages, "run_transfer", seen.append)
    assert run(change(plain, export=True, transfer=TransferJob())) == 0
    assert seen[0].data.source == plain.data.source
