"""From a bucket to a bucket: the dataset, the export and the report, on loopback servers."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from finished_runs import assert_bitwise_equal, checkpoint_values, rows, stop_at
from PIL import Image

from beam_jobs import build_dataset
from groundwork import storage
from groundwork.errors import UserError
from pipeline.data.dataset import shard_cache
from pipeline.evaluation.reports.comparison import Report
from pipeline.evaluation.reports.transfer_result import read_result
from pipeline.evaluation.tasks.task_config import TransferData
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.transfer_evaluation import run_transfer
from pipeline.run.export_stage import export_run
from pipeline.run.run_stages import run
from pipeline.serving.export_config import ExportConfig
from pipeline.serving.loading import open_export


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Class folders of 60 noisy images, bright or dark."""
    folder = tmp_path_factory.mktemp("chain")
    rng = np.random.default_rng(0)
    for number in range(60):
        pixels = rng.integers(0, 128, (20, 24, 3), np.uint8) + 120 * (number % 2)
        path = folder / f"class_{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def build(pictures: Path, output: str) -> str:
    arguments = ["--input", str(pictures), "--output", output, "--shards", "3"]
    build_dataset.main([*arguments, "--splits", "train:0.7,test:0.3", "--runner", "in_process"])
    return output


def local(workdir: str, folder: Path) -> Path:
    """A copy of a workdir in a bucket."""
    storage.copy_folder_to_local(workdir, str(folder))
    return folder


def test_the_whole_chain(config, change, pictures, tmp_path, monkeypatch, gs_bucket, s3_bucket):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shard_cache, "_held", {})
    places = [str(tmp_path / "local"), gs_bucket, s3_bucket]
    config = change(config, export=False, steps=4, batch_size=8, model__num_layers=1)
    config = change(config, data__eval_split="test", log__images=0, checkpoint__every_steps=2)
    config = change(config, checkpoint__keep_best="eval/loss", log__every_steps=1)
    for place in places:
        source, workdir = build(pictures, f"{place}/d"), f"{place}/run"
        with monkeypatch.context() as stopping:
            if place == gs_bucket:
                stop_at(stopping, 3, signal.SIGTERM)
                assert run(change(config, data__source=source, workdir=workdir)) == 143
        assert run(change(config, data__source=source, workdir=workdir)) == 0
    whole = Path(places[0]) / "run"
    for number, bucket in enumerate((gs_bucket, s3_bucket)):
        there = local(f"{bucket}/run", tmp_path / f"copy_{number}")
        assert_bitwise_equal(checkpoint_values(there, 4), checkpoint_values(whole, 4))
        assert [row["eval/loss"] for row in rows(there)[-1:]] == [rows(whole)[-1]["eval/loss"]]
        assert [row["step"] for row in rows(there)] == [row["step"] for row in rows(whole)]
        kept = {path.name for path in (there / "checkpoints").glob("*.index")}
        assert kept == {"ckpt-4.index", "ckpt-3.index" if bucket == gs_bucket else "ckpt-2.index"}
        assert list((there / "tensorboard").iterdir()) and not (there / ".lock").exists()
    assert not list((tmp_path / "cache").glob("*/runs/*"))

    # a kill leaves a checkpoint without its index: the run goes on from the one before, with the
    # same data from elsewhere, and removes it
    storage.delete(f"{workdir}/checkpoints/ckpt-4.index")
    assert run(change(config, data__source=f"{places[0]}/d", workdir=workdir, steps=5)) == 0
    assert {"ckpt-4.index", "ckpt-5.index"} <= storage.names(f"{workdir}/checkpoints")

    for bucket in (gs_bucket, s3_bucket):
        workdir, source = f"{bucket}/run", f"{bucket}/d"
        model, output = f"{bucket}/model", f"{bucket}/reports/t"
        storage.write_text(f"{model}/.unfinished-export", "")  # as one that was killed
        storage.write_text(f"{model}/saved_model.pb", "half")
        export_run(ExportConfig(workdir, model, "best"))
        export_run(ExportConfig(workdir, model))  # replaces it
        assert ".unfinished-export" not in storage.names(model)
        image = (pictures / "class_0" / "0.png").read_bytes()
        assert open_export(model).features([image]).shape == (1, 16)
        data = TransferData(source=source)
        options = {"attention_images": 0, "baselines": []}
        result = run_transfer(
            TransferConfig(model=model, data=data, output=output, protocols=["knn"], **options)
        )
        assert read_result(output).protocols == result.protocols
        labels, _ = Report(output, result).predictions("knn")
        assert len(labels) == result.data.splits["test"].num_examples
        assert json.loads(storage.read_text(f"{output}/result.json"))["config"]["output"] == output
        assert {"report.html", "report.md", "tensorboard"} <= storage.names(output)
        assert "features" not in storage.names(output)

    with pytest.raises(UserError, match="exists and is not an export folder"):
        export_run(ExportConfig(workdir, output))
    with pytest.raises(UserError, match=f"model folder {gs_bucket}/none does not exist"):
        open_export(f"{gs_bucket}/none")
    with pytest.raises(UserError, match="--cache s3://b/c is a URL: give a local path"):
        run_transfer(TransferConfig(model=model, data=data, output=output, cache="s3://b/c"))
    with pytest.raises(UserError, match="workdir https://host/run: only buckets are written to"):
        run(change(config, workdir="https://host/run"))
