"""The evaluations of a run: that on `data.eval_split`, and those that its recipe lists."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import tensorflow as tf
from numpy.typing import NDArray

from groundwork.errors import UserError
from pipeline.data.batches.distributed_batches import distributed_eval_batches
from pipeline.data.dataset.source import Source, open_source, test_split_name
from pipeline.data.dataset.split import Split
from pipeline.evaluation.features.feature_set import FeatureSet, TaskFeatures
from pipeline.evaluation.protocols.few_shot import PAPER_L2, FewShot
from pipeline.evaluation.protocols.knn import NearestNeighbors
from pipeline.evaluation.protocols.linear_probe import LinearProbe
from pipeline.evaluation.tasks.extra_tests import check_answers, open_extra_tests
from pipeline.evaluation.tasks.task import check_labels
from pipeline.evaluation.tasks.task_config import ExtraTest, TransferData
from pipeline.recipe.run_config import PretrainConfig
from pipeline.training.loop.eval_config import EVAL, EvalConfig
from pipeline.training.loop.evaluate import Evaluation, Evaluator, ReadBatches, make_evaluate
from pipeline.training.loop.outputs import make_outputs
from pipeline.training.state.train_state import TrainState

Batches = Iterable[tuple[tf.Tensor, ...]]
Evaluate = Callable[[ReadBatches], Evaluation]
T = TypeVar("T")


def make_evaluators(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    config: PretrainConfig,
    source: Source,
    eval_split: Split | None,
    *,
    jit_compile: bool,
) -> list[Evaluator]:
    """Open what the evaluations read, and compile them.

    Args:
        strategy: that the state lives on.
        state: what is evaluated.
        config: of the run.
        source: its dataset.
        eval_split: of the first evaluation; None: there is none.
        jit_compile: whether XLA compiles the forward pass.

    Raises:
        UserError: a dataset or split that is not there or does not fit; names the evaluation.
    """
    maker = _Maker(strategy, state, config, source, jit_compile)
    evaluators = []
    if eval_split:
        evaluate = maker.scores(eval_split, confusions=config.log.pictures)
        evaluators.append(Evaluator(EVAL, config.eval_every_steps, evaluate))
    for options in config.evals:
        try:
            evaluate = maker.make(options)
        except UserError as error:
            raise UserError(f"evals {options.name}: {error}") from error
        every_steps = options.every_steps or config.eval_every_steps
        evaluators.append(Evaluator(options.name, every_steps, evaluate))
    return evaluators


def _protocol(options: EvalConfig) -> FewShot | NearestNeighbors | LinearProbe:
    if options.kind == "few_shot":
        return FewShot(options.shots, seeds=[0], l2=[PAPER_L2])
    return LinearProbe() if options.kind == "linear_probe" else NearestNeighbors(options.k)


@dataclass(frozen=True)
class _Maker:
    """What all evaluations of a run share."""

    strategy: tf.distribute.Strategy
    state: TrainState
    config: PretrainConfig
    source: Source
    jit_compile: bool

    def make(self, options: EvalConfig) -> Evaluate:
        """The evaluation that `options` describe."""
        if options.kind != "classification":
            return self._of_features(options)
        if options.has_other_labels:
            return self._right_answers(options)
        split = self.source.split(options.split or test_split_name(self.source))
        if not self.config.reads_labels:
            split = replace(split, labels_below=None)
        return self.scores(split)

    def scores(self, split: Split, *, confusions: bool = False) -> Evaluate:
        """Loss and accuracies of the run's objective."""
        evaluate = make_evaluate(
            self.strategy,
            self.state,
            self.config,
            split.num_examples,
            jit_compile=self.jit_compile,
            confusions=confusions,
        )
        return self._reading(split, evaluate)

    def _right_answers(self, options: EvalConfig) -> Evaluate:
        """Share of the images with a label whose first choice is one of their labels."""
        data, model = self.config.data, self.state.model
        test = ExtraTest(
            source=options.source or data.source,
            name=options.name,
            split=options.split,
            real_labels=options.real_labels,
        )
        of_task = TransferData(
            source=data.source,
            data_dir=data.data_dir,
            image_key=data.image_key,
            label_key=data.label_key,
        )
        opened, missing = open_extra_tests([test], of_task, self.source.class_names)
        if missing:
            raise UserError(missing[options.name])
        split = opened[options.name]

        def right(images: tf.Tensor, answers: tf.Tensor) -> tuple[tf.Tensor, ...]:
            choice = tf.argmax(model(images, training=False), axis=-1)
            there = tf.gather(answers, choice, batch_dims=1)
            counted = tf.reduce_any(answers, axis=-1)
            return tf.cast(there, tf.int32), tf.cast(counted, tf.int32)

        outputs = self._outputs(split, right)

        def evaluate(read: ReadBatches) -> Evaluation:
            there, counted = outputs(read)
            check_answers(options.name, counted)
            examples = int(counted.sum())
            return Evaluation({"accuracy": there.sum() / examples, "examples": examples})

        return evaluate

    def _of_features(self, options: EvalConfig) -> Evaluate:
        """The scores of a protocol on features as they are now."""
        data = self.config.data
        source = self.source
        if options.source is not None:
            source = open_source(options.source, data.data_dir)
        model = getattr(self.state.model, "vit", self.state.model)  # without labels: the encoder

        def features(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return tf.cast(model.features(images), tf.float32), labels

        train = source.split(options.train_split)
        test = source.split(options.split or test_split_name(source))
        if train.multi_label_classes is not None:
            raise UserError(
                f"{options.kind} needs one label to an image, and {source.origin} has any number: "
                "give a source of another dataset"
            )
        of_train, of_test = (self._outputs(split, features) for split in (train, test))
        protocol = _protocol(options)

        def evaluate(read: ReadBatches) -> Evaluation:
            learned, measured = (FeatureSet(*outputs(read)) for outputs in (of_train, of_test))
            check_labels(train, learned.labels)
            check_labels(test, measured.labels)
            task = TaskFeatures(source.num_classes, learned, measured, validation=None, seed=0)
            scores = protocol.evaluate(task).scores.values()
            means = [score.mean for score in scores]
            found = dict(zip(options.scalars(()), means, strict=True))
            return Evaluation(found | {"examples": len(measured)})

        return evaluate

    def _outputs(
        self, split: Split, output: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]
    ) -> Callable[[ReadBatches], list[NDArray[Any]]]:
        outputs = make_outputs(
            self.strategy, self.state, output, split.num_examples, jit_compile=self.jit_compile
        )
        return self._reading(split, outputs)

    def _reading(
        self, split: Split, evaluate: Callable[[Batches], T]
    ) -> Callable[[ReadBatches], T]:
        """`evaluate` over the batches of `split`, given how to read them."""
        global_batch = self.config.eval_batch_size or self.config.batch_size
        batches = distributed_eval_batches(self.strategy, split, self.config.data, global_batch)

        def read_and_evaluate(read: ReadBatches) -> T:
            with contextlib.closing(read(batches)) as reader:
                return evaluate(reader)

        return read_and_evaluate
