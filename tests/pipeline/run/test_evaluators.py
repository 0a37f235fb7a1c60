"""Evaluations that a recipe lists: what they measure, when, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from dataset_folders import encode, write_dataset_folder
from finished_runs import rows

from groundwork.errors import UserError
from pipeline.data.batches.eval_batches import eval_batches
from pipeline.data.dataset.source import open_source
from pipeline.data.images.preprocess import EvalPreprocess
from pipeline.devices.strategy import mirrored_strategy
from pipeline.evaluation.features.feature_set import FeatureSet, TaskFeatures
from pipeline.evaluation.protocols.few_shot import FewShot
from pipeline.evaluation.protocols.knn import NearestNeighbors
from pipeline.evaluation.protocols.linear_probe import LinearProbe
from pipeline.readiness.preflight_config import PreflightConfig
from pipeline.readiness.run_checks import preflight
from pipeline.recipe.check_run_config import check_run_config
from pipeline.run.evaluators import make_evaluators
from pipeline.run.run_stages import run
from pipeline.training.loop.eval_config import EvalConfig
from pipeline.training.model.build_model import build_model
from pipeline.training.state.train_state import TrainState
from pipeline.workdir.trained_model import load_trained_model


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """A dataset of other classes: 24 training and 13 test images, dark or bright."""
    generator = np.random.default_rng(0)

    def examples(count):
        pixels = generator.integers(0, 128, (count, 20, 20, 3), np.uint8)
        return [(encode(image + i % 2 * 127), i % 2, str(i)) for i, image in enumerate(pixels)]

    splits = {"train": examples(24), "test": examples(13)}
    return str(write_dataset_folder(tmp_path_factory.mktemp("d") / "c", splits, ("dark", "bright")))


EVALS = (
    EvalConfig("minival", split="train[90%:]", every_steps=2),
    EvalConfig("few", "few_shot", shots=[1, 5]),
    EvalConfig("near", "knn", k=[3]),
    EvalConfig("linear", "linear_probe"),
)


def with_evals(config, change, colors, **options):
    of_features = (replace(one, source=colors) for one in EVALS[1:])
    same = EvalConfig("same", source=config.data.source)
    return change(config, evals=[EVALS[0], same, *of_features], export=False, **options)


def test_a_run_makes_the_evaluations_of_its_recipe(config, change, colors, capsys):
    best = "few/accuracy_5shot"
    config = with_evals(
        config, change, colors, steps=5, eval_every_steps=4, log__images=0,
        checkpoint__keep_best=best, steps_per_loop=3,
    )  # fmt: skip
    check_run_config(config)
    config = change(config, model__num_layers=1)
    assert run(config) == 0
    found = {}
    for row in rows(config.workdir):
        for name, value in row.items():
            found.setdefault(name, {})[row["step"]] = value
    assert list(found["minival/loss"]) == list(found["minival/accuracy"]) == [2, 4, 5]
    assert set(found["minival/examples"].values()) == {9}
    assert found["same/accuracy"] == pytest.approx(found["eval/accuracy"])
    assert set(found["same/examples"].values()) == {31} and "same/loss" not in found
    for name in (
        "few/accuracy_1shot", "few/accuracy_5shot", "near/accuracy_3nn",
        "linear/accuracy_linear_probe",
    ):  # fmt: skip
        assert list(found[name]) == [4, 5]
    scores = found[best]
    trained = load_trained_model(config.workdir, "best")
    assert trained.step == max(scores, key=lambda step: (scores[step], -step))
    assert trained.best_score == (best, pytest.approx(scores[trained.step]))
    told = f"step 5: few accuracy 1shot {found['few/accuracy_1shot'][5]:.1%}, accuracy 5shot"
    assert told in capsys.readouterr().err
    before = rows(config.workdir)
    assert run(config) == 0 and rows(config.workdir) == before  # nothing is left to do


def random_model(config, strategy):
    """A state whose head is not of zeros."""
    with strategy.scope():
        model = build_model(config.model, config.data.height_width, 3, seed=3)
        state = TrainState(model, config.optim, seed=0)
    kernel = model.get_layer("head").kernel
    kernel.assign(np.random.default_rng(0).normal(0, 0.5, kernel.shape))
    return state


def measure(config, strategy, state):
    """The metrics of all evaluations by name."""
    source = open_source(config.data.source)
    evaluators = make_evaluators(strategy, state, config, source, None, jit_compile=False)
    # What the loop reads by can be closed, as a generator can.
    return {
        one.name: one.evaluate(lambda batches: (batch for batch in batches)).metrics
        for one in evaluators
    }


def test_any_number_of_replicas_measures_what_the_protocols_do(config, change, colors):
    config = with_evals(config, change, colors)
    found = []
    for replicas in (1, 2):
        strategy = mirrored_strategy(replicas)
        state = random_model(config, strategy)
        found.append(measure(config, strategy, state))
    one, two = found
    for name, metrics in one.items():
        assert two[name] == pytest.approx(metrics, rel=1e-5)
    sets = []
    for split in map(open_source(colors).split, ("train", "test")):
        batches = eval_batches(split, EvalPreprocess(config.data.height_width), split.num_examples)
        ((images, labels, _),) = batches
        sets.append(FeatureSet(state.model.features(images).numpy(), labels.numpy()))
    task = TaskFeatures(2, *sets, None, 0)
    few = FewShot([1, 5], seeds=[0], l2=[1024.0]).evaluate(task).scores
    near = NearestNeighbors([3]).evaluate(task).scores["3"].mean
    assert one["few"] == {f"accuracy_{k}shot": few[str(k)].mean for k in (1, 5)} | {"examples": 13}
    assert one["near"] == {"accuracy_3nn": near, "examples": 13}
    linear = LinearProbe().evaluate(task).scores["linear_probe"].mean
    assert one["linear"] == {"accuracy_linear_probe": linear, "examples": 13}


def test_an_image_with_several_labels_is_right_by_each_and_without_one_does_not_count(
    config, change, tmp_path
):
    generator = np.random.default_rng(0)
    images = [
        (encode(generator.integers(0, 256, (20, 20, 3), np.uint8)), 0, f"ILSVRC2012_val_{n:08}.png")
        for n in range(1, 6)
    ]
    names = ("disc", "square", "stripes")
    folder = write_dataset_folder(tmp_path / "val", {"validation": images}, names)
    labels = {
        "two": [[], [0, 1], [0, 1], [0, 1], [0, 1]],
        "third": [[], [2], [2], [2], [2]],
        "none": [[]] * 5,
    }
    strategy = tf.distribute.get_strategy()
    state = random_model(config, strategy)
    found = {}
    for name, real_labels in labels.items():
        real = tmp_path / f"{name}.json"
        real.write_text(json.dumps(real_labels))
        one = EvalConfig(name, source=str(folder), real_labels=str(real))
        if name == "none":
            with pytest.raises(UserError, match="none of its 5 images has a label"):
                measure(change(config, evals=[one]), strategy, state)
        else:
            found |= measure(change(config, evals=[one]), strategy, state)
    assert found["two"]["examples"] == found["third"]["examples"] == 4
    assert found["two"]["accuracy"] + found["third"]["accuracy"] == pytest.approx(1)
    logits = state.model(np.stack([EvalPreprocess((16, 16))(image) for image, _, _ in images[1:]]))
    assert found["third"]["accuracy"] == np.mean(np.argmax(logits, axis=1) == 2)


@pytest.mark.parametrize(
    ("evals", "keep_best", "message"),
    [
        ([EvalConfig("train")], None, "'train' cannot be the name"),
        ([EvalConfig("a_b")], None, "'a_b' cannot be the name"),
        ([EvalConfig("a"), EvalConfig("a")], None, "'a' cannot be the name"),
        ([EvalConfig("a", "few_shot", shots=[])], None, r"a: shots is \[\]"),
        ([EvalConfig("a", "knn", k=[1, 1])], None, r"a: k is \[1, 1\]"),
        ([EvalConfig("a", every_steps=0)], None, "a: every_steps is 0"),
        ([EvalConfig("a")], "a/accuracy_5shot", "keep_best=eval/accuracy or .*a/accuracy"),
    ],
)
def test_evals_that_cannot_be_are_named(config, change, evals, keep_best, message):
    with pytest.raises(UserError, match=message):
        check_run_config(change(config, evals=evals, checkpoint__keep_best=keep_best))


def test_what_an_evaluation_lacks_is_told_before_the_first_step(config, change, colors):
    for options, message in (
        (EvalConfig("a", split="dev"), "evals a: .* has no split dev"),
        (EvalConfig("b", source="nowhere"), "evals b: .*nowhere is neither a dataset folder"),
        (EvalConfig("c", source=colors), "evals c: .*bright, are none of the 3"),
    ):
        with pytest.raises(UserError, match=message):
            run(change(config, evals=[options]))
    checks = preflight(PreflightConfig(**vars(change(config, evals=[EvalConfig("a", split="x")]))))
    assert "evals a" in str([check.found for check in checks if check.status == "error"])
