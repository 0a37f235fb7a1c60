"""Transfer to images of any number of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported_models import export_tiny_vit
from sklearn.metrics import average_precision_score

from groundwork.errors import UserError
from pipeline.evaluation.reports.comparison import compare
from pipeline.evaluation.reports.transfer_result import read_result
from pipeline.evaluation.tasks.task_config import ExtraTest, TransferData
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.transfer_evaluation import run_transfer


@pytest.fixture(scope="module")
def evaluation(tags_folder, tmp_path_factory):
    """What the evaluation of a tiny model is made from."""
    folder = tmp_path_factory.mktemp("transfer")
    export_tiny_vit(folder / "model")
    data = TransferData(source=str(tags_folder))
    evaluation = TransferConfig(
        model=str(folder / "model"),
        data=data,
        output=str(folder / "report"),
        protocols=["few_shot", "linear_probe"],
        baselines=["raw_pixels"],
    )
    evaluation.few_shot.shots = [5, 20]
    evaluation.linear_probe.c = [0.01, 1.0]
    return evaluation


def test_scores_are_mean_average_precisions_and_the_report_has_each_class(evaluation):
    result = run_transfer(evaluation)
    assert read_result(evaluation.output) == result
    stored = np.load(f"{evaluation.output}/predictions.npz")
    assert stored["label"].dtype == bool and stored["linear_probe"].shape == (1, 32, 3)
    for name, protocol in result.protocols.items():
        assert protocol.metric == "mean average precision"
        means = [average_precision_score(stored["label"], one) for one in stored[name]]
        assert protocol.last.accuracies == pytest.approx(means)
        assert protocol.scores["raw_pixels"][protocol.last_setting].mean > 0.85  # it can be learned
    precision = average_precision_score(stored["label"], stored["linear_probe"][0], average=None)
    found = {one.name: one.average_precision for one in result.analysis.classes}
    assert found == pytest.approx(dict(zip(result.data.class_names, precision, strict=True)))
    assert result.data.train_images_per_class is not None
    assert "mean average precision" in result.verdict and not result.analysis.contrasts
    text = Path(evaluation.output, "report.html").read_text(encoding="utf-8")
    assert "Mean average precision" in text and "best F1" in text and "are right" not in text
    with pytest.raises(UserError, match="any number of labels, whose models are not compared"):
        compare([evaluation.output])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocols": ["knn"]}, "protocol knn needs images with one label"),
        ({"protocols": ["fine_tune"]}, "fine_tune needs .* vit pretrain --objective multi_label"),
        ({"extra_tests": [ExtraTest("x")]}, "leave them out"),
    ],
)
def test_what_needs_one_label_is_named(evaluation, tmp_path, fields, message):
    options = {**vars(evaluation), "output": str(tmp_path), **fields}
    with pytest.raises(UserError, match=message):
        run_transfer(TransferConfig(**options))
