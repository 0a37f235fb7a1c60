"""What a start finds in a workdir: whose run it is, what it says of itself, what is left over."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from dataset_folders import encode, write_dataset_folder
from finished_runs import checkpoint_values

from groundwork.errors import UserError
from groundwork.stopping import exit_on_signals
from pipeline.run import export_stage
from pipeline.run.run_stages import run
from pipeline.serving import export_folder
from pipeline.workdir.same_dataset import differing_classes
from pipeline.workdir.workdir import Workdir

NAMES = ("disc", "square", "stripes")


def write_shapes(folder, names, count=24):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 20, 20, 3), np.uint8)
    examples = [(encode(one), i % len(names), f"{i}") for i, one in enumerate(pixels)]
    return write_dataset_folder(folder, {"train": examples, "validation": examples[:6]}, names)


@pytest.fixture
def short(config, change, tmp_path):
    """A run of two steps that only trains, on a dataset of its own."""
    source = write_shapes(tmp_path / "shapes", NAMES)
    config = change(config, data__source=str(source), data__eval_split=None, steps=2, batch_size=8)
    return change(config, export=False, log__images=0, model__num_layers=1)


def test_a_finished_run_is_not_exported_under_other_names(short, change):
    assert run(short) == 0
    before = Path(short.workdir, "config.yaml").read_bytes()
    source = Path(short.data.source)
    write_shapes(source, ("stripes", "disc", "square"))
    with pytest.raises(UserError, match=r"its classes in another order \(class 0 was disc and is"):
        run(change(short, export=True))
    write_shapes(source, ("disc", "square"))
    with pytest.raises(UserError, match="has 2 classes, not 3, gone: stripes"):
        run(short)
    with pytest.raises(UserError, match="has 2 classes, not 3"):
        run(change(short, workdir=short.workdir + "2", resume=short.workdir))
    write_shapes(source, NAMES, count=27)
    with pytest.raises(UserError, match=r"is not the dataset that the run in .* --resume"):
        run(short)
    assert Path(short.workdir, "config.yaml").read_bytes() == before
    write_shapes(source, NAMES)
    assert run(short) == 0


def test_the_differing_classes_are_named():
    assert differing_classes(NAMES, NAMES) == ""
    many = [f"class {i}" for i in range(38)]
    assert differing_classes(many[:16], many).startswith("38 classes, not 16, new: class 16, ")
    assert differing_classes(many[:16], many).endswith("and 19 more")
    other = differing_classes(NAMES, ("disc", "cube", "stripes"))
    assert other == "other classes (class 1 was square and is cube)"


def test_options_of_a_start_that_trains_nothing_are_not_recorded(short, change, capsys):
    assert run(short) == 0
    assert run(change(short, steps=3)) == 0
    config = Path(short.workdir, "config.yaml").read_text()
    capsys.readouterr()
    assert run(change(short, steps=1, optim__peak_lr=0.5, init_from="x.npz")) == 0
    told = capsys.readouterr().out
    assert re.search(r"these are not taken: .*steps: 1.*peak_lr: 0.5", told)
    assert "init_from x.npz not taken: the workdir has a checkpoint of its own" in told
    assert Path(short.workdir, "config.yaml").read_text() == config
    starts = json.loads(Path(short.workdir, "run.json").read_text())
    assert [(s["start_step"], s["total_steps"], s["options"]["steps"]) for s in starts] == [
        (0, 2, 2),
        (2, 3, 3),
    ]


def test_what_a_killed_run_left_is_removed_and_an_export_put_aside_put_back(short, capsys):
    assert run(short) == 0
    folder = Path(short.workdir)
    (folder / "checkpoints" / "ckpt-9_temp").mkdir()
    (folder / "checkpoints" / "ckpt-9_temp" / "part-0").write_bytes(bytes(9))
    (folder / "checkpoints" / "ckpt-9.data-00000-of-00001").write_bytes(bytes(9))
    for name in (".export-a", ".export-a-old", "transfer/features/.unfinished-b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").touch()
    (folder / ".incomplete-c").touch()
    capsys.readouterr()
    assert run(short) == 0
    assert "removed what a killed run left unfinished: ckpt-9.data" in capsys.readouterr().out
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "ckpt-2.index",
        "ckpt-2.data-00000-of-00001",
    }
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
    assert (folder / "export" / "file").exists()


@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_a_signal_in_the_export_leaves_the_old_one_and_no_staging(short, change, monkeypatch, sent):
    whole = change(short, export=True)
    assert run(whole) == 0
    before = Path(whole.workdir, "export", "export.json").read_bytes()
    monkeypatch.setattr(export_folder, "check_parity", lambda *_, **__: os.kill(os.getpid(), sent))
    with exit_on_signals(), pytest.raises((SystemExit, KeyboardInterrupt)) as left:
        run(whole)
    assert sent == signal.SIGINT or left.value.code == 128 + sent
    assert Path(whole.workdir, "export", "export.json").read_bytes() == before
    assert not list(Path(whole.workdir).glob(".export*"))


def test_the_export_of_the_best_checkpoint_tells_its_step_and_score(config, change, capsys):
    config = change(
        config, export=False, log__images=0, log__pictures=False, steps=4, model__num_layers=1,
        eval_every_steps=2, checkpoint__keep_best="eval/loss", optim__peak_lr=0.0,
    )  # fmt: skip
    assert run(config) == 0
    options = export_stage.ExportConfig(config.workdir, config.workdir + "/export", "best")
    capsys.readouterr()
    export_stage.export_run(options)
    told = capsys.readouterr().out
    assert re.search(r"checkpoint best: of step 2, eval/loss 1\.\d+; the newest is of step 4", told)


def test_a_workdir_that_cannot_be_written_or_named_is_one_line(short, change, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/run/.lock .*name another folder"):
        run(change(short, workdir=str(tmp_path / "file" / "run")))
    for name in ("x[1]", "x*", "x?"):
        with pytest.raises(UserError, match="choose a name without them"):
            Workdir(str(tmp_path / name))


@pytest.mark.parametrize("name", ["classes.json", "run.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff"])
def test_a_damaged_record_is_named(tmp_path, name, content):
    workdir = Workdir(str(tmp_path))
    (tmp_path / name).write_bytes(content)
    load = workdir.load_class_names if name == "classes.json" else workdir.load_starts
    if content == b"" and name == "run.json":
        assert load() == []
        return
    with pytest.raises(UserError, match=f"{name} is damaged"):
        load()


def test_checkpoints_of_a_run_hold_all_that_a_reader_of_tensorflow_expects(short):
    assert run(short) == 0
    assert checkpoint_values(short.workdir, 2)["step/.ATTRIBUTES/VARIABLE_VALUE"] == 2
