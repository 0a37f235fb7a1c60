"""From images of any number of labels to a model that names them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from finished_runs import assert_bitwise_equal, checkpoint_values, rows, stop_at
from sklearn.metrics import average_precision_score

from groundwork.errors import UserError
from pipeline import classify
from pipeline.data.batches.distributed_batches import distributed_eval_batches
from pipeline.data.dataset.source import open_source
from pipeline.data.dataset.split import read_records
from pipeline.devices.strategy import mirrored_strategy
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.export_stage import export_run
from pipeline.run.run_stages import run
from pipeline.serving import predictions
from pipeline.serving.export_config import ExportConfig
from pipeline.serving.loading import open_export
from pipeline.training.loop.evaluate import make_evaluate
from pipeline.training.model.build_model import build_model
from pipeline.training.state.train_state import TrainState


@pytest.fixture
def tagged(config: PretrainConfig, change, tags_folder: Path) -> PretrainConfig:
    """A run of a tiny model on them."""
    return change(
        config,
        data__source=str(tags_folder),
        model__num_layers=1,
        objective="multi_label",
        checkpoint__keep_best="eval/mean_average_precision",
        optim__peak_lr=2e-2,
        eval_every_steps=10,
        steps=30,
    )


def test_the_evaluation_is_the_same_on_any_number_of_replicas(tagged):
    split = open_source(tagged.data.source, multi_label=True).split("validation[:29]")
    found = []
    for replicas, jit_compile in ((1, False), (2, False), (1, True)):
        strategy = mirrored_strategy(replicas)
        with strategy.scope():
            model = build_model(tagged.model, tagged.data.height_width, 3, seed=tagged.seed)
            state = TrainState(model, tagged.optim, seed=0)
        kernel = model.get_layer("head").kernel
        kernel.assign(np.random.default_rng(0).normal(0, 0.5, kernel.shape))
        evaluate = make_evaluate(
            strategy, state, tagged, split.num_examples, jit_compile=jit_compile
        )
        found.append(evaluate(distributed_eval_batches(strategy, split, tagged.data, 8)))
    one, *others = found
    assert one.metrics["examples"] == 29
    for other in others:
        assert other.metrics == pytest.approx(one.metrics, rel=1e-5)
        np.testing.assert_array_equal(other.classes.images, one.classes.images)


def test_a_run_resumes_learns_and_its_export_knows_its_thresholds(
    tagged, change, monkeypatch, capsys, tmp_path
):
    tagged = change(tagged, class_weights="auto")
    whole = change(tagged, workdir=tagged.workdir + "_whole", export=False, log__pictures=False)
    assert run(whole) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 13, signal.SIGTERM)
        assert run(tagged) == 143
    assert run(tagged) == 0
    assert "mAP" in capsys.readouterr().err
    found, expected = (checkpoint_values(one.workdir, 30) for one in (tagged, whole))
    assert_bitwise_equal(found, expected)

    last = rows(tagged.workdir)[-1]
    scores = json.loads(Path(tagged.workdir, "class_scores/30.json").read_text())
    export = open_export(f"{tagged.workdir}/export")
    description = export.description
    assert description.activation == "sigmoid"
    assert description.thresholds == tuple(row["threshold"] for row in scores)
    metrics = description.origin["metrics"]
    assert metrics == {"mean_average_precision": last["eval/mean_average_precision"]}

    split = open_source(tagged.data.source, multi_label=True).split("validation")
    images, labels = zip(*map(split.parse, read_records(split.files)), strict=True)
    answer = export.saved_model.signatures["serve"](image_bytes=tf.stack(images))
    probabilities, labels = answer["probabilities"].numpy(), np.array(labels)
    precision = average_precision_score(labels, probabilities, average=None)
    np.testing.assert_allclose([row["average_precision"] for row in scores], precision, atol=1e-6)
    assert last["eval/mean_average_precision"] == pytest.approx(precision.mean(), abs=1e-6)
    assert precision.mean() > 0.9  # by chance: one half

    paths = [str(tmp_path / f"{index}.png") for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Path(path).write_bytes(image.numpy())
    wanted = probabilities >= description.thresholds
    answers = [answer for batch in predictions.classify(export, paths, 1, 8) for answer in batch]
    for answer, right in zip(answers, wanted, strict=True):
        names = {description.class_names[c] for c in np.flatnonzero(right)}
        assert {name for name, _ in answer.classes} == names
    none = str(paths[0])
    assert classify.main(["--model", export.folder, none, "--threshold", "1"]) == 0
    assert "none: no class reaches" in capsys.readouterr().out

    again = export_run(ExportConfig(tagged.workdir, str(tmp_path / "best"), checkpoint="best"))
    assert len(again.thresholds) == 3
    assert "mean average precision" in (tmp_path / "best" / "README.md").read_text()


def test_metrics_of_another_objective_are_named(tagged, change):
    with pytest.raises(UserError, match="keep_best=eval/mean_average_precision"):
        check_run_config(change(tagged, checkpoint__keep_best="eval/accuracy"))
    with pytest.raises(UserError, match="keep_best=eval/accuracy"):
        check_run_config(change(tagged, objective="classify"))
