"""The best checkpoint, full disks, and what a start finds after them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from exported_models import tiny_vit
from finished_runs import assert_bitwise_equal, checkpoint_values, rows

from groundwork import command_line
from groundwork.errors import DiskFull, UserError
from pipeline.recipe.check_run_config import check_run_config
from pipeline.run.run_stages import run
from pipeline.serving.export_config import ExportOptions
from pipeline.training.loop.metrics_log import MetricsLog
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.state.best_checkpoint import BestCheckpoint
from pipeline.training.state.checkpoint import Checkpointer
from pipeline.training.state.train_state import TrainState
from pipeline.workdir.trained_model import load_trained_model
from pipeline.workdir.workdir import Workdir


@pytest.fixture
def state():
    return TrainState(tiny_vit(), OptimConfig(), seed=0)


def steps_of(folder: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("ckpt-*.index"))


def offer(state, folder, values, metric="eval/accuracy"):
    """A process that evaluates at the steps of `values`; tells which were better."""
    best = BestCheckpoint(state, str(folder), metric)
    better = []
    for step, value in values.items():
        state.step.assign(step)
        if best.offer({metric: value}):
            better.append(step)
    best.wait()
    return better


def test_the_best_checkpoint_survives_restarts(state, tmp_path):
    assert offer(state, tmp_path, {2: 0.3, 4: 0.7, 6: 0.5, 8: 0.7}) == [2, 4]
    assert steps_of(tmp_path) == [4]
    assert offer(state, tmp_path, {4: 0.7, 6: 0.5, 8: 0.69}) == []
    assert steps_of(tmp_path) == [4]
    assert offer(state, tmp_path, {10: 0.71, 12: float("nan")}) == [10]
    assert steps_of(tmp_path) == [10]


def test_the_best_loss_is_the_lowest_and_another_metric_begins_anew(state, tmp_path):
    assert offer(state, tmp_path, {2: 0.9, 4: 0.5, 6: 0.7}, "eval/loss") == [2, 4]
    assert offer(state, tmp_path, {8: 0.1}, "eval/accuracy") == [8]


def test_a_damaged_best_checkpoint_is_replaced(state, tmp_path, capsys):
    offer(state, tmp_path, {2: 0.9})
    for path in tmp_path.glob("ckpt-2.*"):
        path.write_bytes(b"")
    assert offer(state, tmp_path, {4: 0.1}) == [4]
    assert "ckpt-2 is damaged" in capsys.readouterr().out


def test_the_best_evaluation_of_a_run_is_what_best_loads(config, change):
    config = change(
        config, export=False, steps=6, eval_every_steps=1, checkpoint__keep_best="eval/loss"
    )
    config = change(config, optim__peak_lr=0.3, optim__warmup_steps=4)  # soon gets worse
    assert run(config) == 0
    losses = {row["step"]: row["eval/loss"] for row in rows(config.workdir) if "eval/loss" in row}
    best = min(losses, key=lambda step: losses[step])
    assert best < 6
    options = ["--workdir", config.workdir, "--output", "model", "--checkpoint", "best"]
    chosen = command_line.parse(ExportOptions, options, prog="export").checkpoint
    assert load_trained_model(config.workdir, chosen).step == best
    assert load_trained_model(config.workdir).step == 6


def test_a_run_without_a_best_checkpoint_says_how_to_get_one(config, change):
    Workdir(config.workdir).archive(config, ["disc", "square", "stripes"])
    with pytest.raises(UserError, match=r"best_checkpoint yet: train with --checkpoint.keep_best"):
        load_trained_model(config.workdir, "best")
    config = change(config, data__eval_split=None)
    with pytest.raises(UserError, match="keep_best needs an evaluation"):
        check_run_config(change(config, checkpoint__keep_best="eval/loss"))


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.long
def test_a_full_disk_keeps_the_checkpoints_and_the_next_start_goes_on(config, change, tmp_path):
    config = change(config, export=False, log__images=0, model__num_layers=1)
    whole = change(config, workdir=config.workdir + "_whole")
    run(whole)
    size = sum(path.stat().st_size for path in Path(whole.workdir).glob("checkpoints/ckpt-8.*"))
    with small_disk(tmp_path / "disk", 3 * size // 2 // 1024) as disk:
        config = change(config, workdir=str(disk / "run"))
        with pytest.raises(DiskFull, match=r"checkpoint of step 8 .* \(No space left") as error:
            run(config)
        assert "\n" not in str(error.value) and error.value.exit_status == 1
        assert {path.name for path in disk.glob("run/checkpoints/*")} == {
            "ckpt-4.index",
            "ckpt-4.data-00000-of-00001",
        }
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        assert run(config) == 0
        assert_bitwise_equal(
            checkpoint_values(config.workdir, 10), checkpoint_values(whole.workdir, 10)
        )
        assert [row["step"] for row in rows(config.workdir)] == [
            row["step"] for row in rows(whole.workdir)
        ]


def test_a_full_disk_ends_the_log_in_one_line_and_keeps_its_rows(tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        paths = (str(disk / "tensorboard"), str(disk / "metrics.jsonl"))
        log = MetricsLog(*paths, 0)
        log.scalars(2, {"train/loss": 1.0})
        (disk / "other").write_bytes(bytes(100))
        with contextlib.suppress(OSError), (disk / "other").open("ab", 0) as file:
            while True:
                file.write(bytes(1024))
        with pytest.raises(DiskFull, match=r"the log could not be written .*No space left"):
            for step in range(3, 1000):
                log.scalars(step, {"train/loss": 1.0})
                log.flush()
        (disk / "other").unlink()
        MetricsLog(*paths, 2).scalars(3, {"train/loss": 2.0})
        assert [row["step"] for row in rows(disk)] == [2, 3]


def test_a_readers_checkpointer_writes_nothing(state, tmp_path):
    Checkpointer(state, str(tmp_path), keep=1, write=False).save()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc names what is flushed")
def test_a_checkpoint_is_on_the_disk_before_older_ones_go(state, tmp_path, monkeypatch):
    flushed = []

    def fsync(descriptor):
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        assert steps_of(tmp_path)[0] == 0

    monkeypatch.setattr(os, "fsync", fsync)
    checkpointer = Checkpointer(state, str(tmp_path), keep=1)
    for step in (0, 2):
        state.step.assign(step)
        checkpointer.save()
        checkpointer.wait()
    names = ["ckpt-2.data-00000-of-00001", "ckpt-2.index", tmp_path.name]
    assert flushed[3:] == names
    assert steps_of(tmp_path) == [2]


def test_a_damaged_checkpoint_does_not_outlive_the_good_ones_before_it(state, tmp_path):
    def save(step):
        state.step.assign(step)
        checkpointer.save()
        checkpointer.wait()

    checkpointer = Checkpointer(state, str(tmp_path), keep=2)
    save(8)
    save(10)
    (tmp_path / "ckpt-10.index").write_bytes(b"")
    checkpointer = Checkpointer(state, str(tmp_path), keep=2)
    assert checkpointer.restore() == 8
    save(9)
    assert steps_of(tmp_path) == [8, 9]
