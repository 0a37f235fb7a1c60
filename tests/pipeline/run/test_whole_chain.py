"""From a bucket to a bucket: the dataset, the export and the report, on loopback servers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from finished_runs import assert_bitwise_equal, checkpoint_values
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


def test_the_whole_chain(config, change, pictures, tmp_path, monkeypatch, gs_bucket, s3_bucket):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shard_cache, "_held", {})
    sources = [str(tmp_path / "local"), f"{gs_bucket}/d", f"{s3_bucket}/d"]
    config = change(config, export=False, steps=4, batch_size=8, model__num_layers=1)
    config = change(config, data__eval_split="test", log__images=0)
    values = {}
    for source in sources:
        build(pictures, source)
        workdir = str(tmp_path / f"run_{len(values)}")
        assert run(change(config, data__source=source, workdir=workdir)) == 0
        values[source] = checkpoint_values(workdir, 4)
    for source in sources[1:]:
        assert_bitwise_equal(values[source], values[sources[0]])
    # a run goes on with the same data from elsewhere
    assert run(change(config, data__source=sources[0], workdir=workdir, steps=5)) == 0

    for bucket, source in zip((gs_bucket, s3_bucket), sources[1:], strict=True):
        model, output = f"{bucket}/model", f"{bucket}/reports/t"
        export_run(ExportConfig(workdir, model))
        export_run(ExportConfig(workdir, model))  # replaces it
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
    with pytest.raises(UserError, match="cache s3://b/c is a URL: give a local folder"):
        run_transfer(TransferConfig(model=model, data=data, output=output, cache="s3://b/c"))
