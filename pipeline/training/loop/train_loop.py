"""The loop around the train step: metrics, evaluation, checkpoints, stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from groundwork.errors import InputFailed, TrainingDiverged, UserError
from groundwork.progress import Progress
from pipeline.devices.worker_agreement import check_workers_agree
from pipeline.devices.worker_times import WorkerTimes
from pipeline.figures.model_pictures import weight_figures
from pipeline.figures.rendering import rasterized
from pipeline.figures.transfer_figures import confusion_figure
from pipeline.process.failed_input import failed_input, reason
from pipeline.process.interruptible import InterruptibleIterator, Stopped, StoppedMidway
from pipeline.process.stop_signal import StopSignal
from pipeline.process.watchdog import Watchdog
from pipeline.training.loop.compute_meter import ComputeMeter
from pipeline.training.loop.confusion import Confusions
from pipeline.training.loop.eval_config import EVAL
from pipeline.training.loop.evaluate import Evaluator, ReadBatches
from pipeline.training.loop.loop_options import LoopOptions
from pipeline.training.loop.metrics_log import DEVICE_HOURS, GOODPUT, SECONDS, MetricsLog
from pipeline.training.loop.pictures import labeled_images
from pipeline.training.loop.profile_window import ProfileWindow
from pipeline.training.loop.step_loop import StepLoop, make_step_loop
from pipeline.training.loop.step_window import Batch, StepWindow
from pipeline.training.state.best_checkpoint import BestCheckpoint
from pipeline.training.state.checkpoint import Checkpointer
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import TrainStep

Batches = Iterable[Batch]
DRAWN_CLASSES = 100
"""With more classes the most frequent confusions are written as text."""


class EvaluationInputFailed(InputFailed):
    """A batch of the evaluation could not be read."""


@dataclass
class TrainLoop:
    """Runs steps until `total_steps`, until nothing gets better, or until it is told to stop.

    Attributes:
        options: what happens between the steps, and how often.
        batch_size: images in a global batch.
        input_remedy: what to do where a batch cannot be read.
        strategy: that the step runs on.
        state: what the steps change.
        train_step: see `make_train_step`.
        batches: distributed training batches from `state.step` on.
        evaluators: the evaluations to make.
        checkpointer: where to save.
        best: where to save the best evaluation's state; None: nowhere.
        watchdog: told of all that gets on.
        worker_times: asked how long each worker takes for its part of a step.
        log: where scalars and pictures go.
        compute: counts what the run costs.
        class_names: by label.
        profile: steps to profile; None: none.
        total_steps: of the whole run.
    """

    options: LoopOptions
    batch_size: int
    input_remedy: str
    strategy: tf.distribute.Strategy
    state: TrainState
    train_step: TrainStep
    batches: Batches
    evaluators: Sequence[Evaluator]
    checkpointer: Checkpointer
    best: BestCheckpoint | None
    watchdog: Watchdog
    worker_times: WorkerTimes
    log: MetricsLog
    compute: ComputeMeter
    class_names: Sequence[str]
    profile: ProfileWindow | None
    total_steps: int

    def run(self, stop: StopSignal) -> bool:
        """Train; tells whether the end was reached, and evaluated.

        On return there is a checkpoint of the state as it is; but one of an earlier step where
        `steps_per_loop` steps had begun whose input never came.

        Raises:
            TrainingDiverged: the loss or the gradient's norm is not finite. The checkpoints are of
                steps before that.
            InputFailed: there is no next batch, or one of the evaluation cannot be read. Without
                `steps_per_loop`, and in the evaluation, there is a checkpoint of the state as it
                is.
        """
        step = int(self.state.step.numpy())
        missed = [one for one in self._due_evaluators(step) if one.name not in self.log.evaluated]
        if self.best:  # a kill may have come before it was saved
            for row in self.log.evaluations:
                self.best.offer(row)
        if self._is_over(step) and not missed:
            return True
        progress = Progress("training", self.total_steps, step)
        batches = self._reader(stop)(self.batches)
        window = StepWindow(step, self.batch_size, self.watchdog)
        is_whole, finished = True, False
        try:
            try:
                # The run may have been stopped between checkpoint and evaluation.
                self._evaluate(missed, step, progress, stop)
                finished = self._is_over(self._train(step, batches, window, progress, stop))
            except StoppedMidway:
                is_whole = False
            except Stopped:  # while waiting for a batch
                window.check()
        except (TrainingDiverged, InputFailed) as error:
            raise self._explained(error, window) from error.__cause__ or error
        finally:
            progress.close()
            batches.close()
        if is_whole:
            self._save()
        self.watchdog.at("writing the last checkpoint")
        self.checkpointer.wait()
        if self.best:
            self.best.wait()
        return finished

    def _train(
        self,
        start: int,
        batches: InterruptibleIterator[Batch],
        window: StepWindow,
        progress: Progress,
        stop: StopSignal,
    ) -> int:
        """Train after step `start`, until the end or a signal; tells the last step."""
        step = start
        step_loop = make_step_loop(self.train_step)
        extra: dict[str, float] = {}
        while not self._is_over(step) and not stop.agreed(self.strategy, step):
            if self.profile:
                self.profile.before(step + 1)
            step += self._advance(batches, window, step_loop, step, alone=step == start)
            if step == start + 1:
                extra["speed/first_step_seconds"] = window.forget_time()
                progress.restart(step)
            if self.profile and self.profile.is_last(step):
                window.check()
                progress.note(self.profile.stop())
            if self._is_due(step, self.options.log.every_steps):
                self.checkpointer.check()
                row = self._row(step, window, progress) | extra
                times = self.worker_times.scalars(*window.own_seconds())
                self.log.scalars(step, row | times)
                if told := self.worker_times.straggler(times):
                    progress.note(f"step {step}: {told}")
                progress.update(step, _describe(row))
                window.restart(step)
                extra = {}
            # The checkpoint first: whatever becomes of the evaluation, the steps are kept.
            if self._is_due(step, self.options.checkpoint.every_steps):
                window.check()
                self._check_workers(step)
                extra["speed/checkpoint_seconds"] = self._save()
            if due := self._due_evaluators(step):
                window.check()
                self._evaluate(due, step, progress, stop)
        window.check()
        return step

    def _reader(self, stop: StopSignal) -> Callable[[Batches], InterruptibleIterator[Batch]]:
        """How batches are read, here and in the evaluation."""
        alone = not self.strategy.extended._in_multi_worker_mode()
        return lambda batches: InterruptibleIterator(batches, stop, alone=alone)

    def _watched_reader(self, evaluation: str, stop: StopSignal) -> ReadBatches:
        """The reader of an evaluation: the watchdog hears of each batch."""
        read = self._reader(stop)

        def watched(batches: Batches) -> Iterator[Batch]:
            for number, batch in enumerate(batches, 1):
                self.watchdog.at(f"the evaluation {evaluation}, after its batch {number}")
                yield batch

        return lambda batches: read(watched(batches))

    def _explained(self, error: UserError, window: StepWindow) -> UserError:
        """`error` with its step, what is kept, and the remedy."""
        found = str(error)
        remedy = "try a lower optim.peak_lr, a longer optim.warmup_steps or optim.clip_norm=1"
        if isinstance(error, InputFailed):
            evaluating = isinstance(error, EvaluationInputFailed)
            what = "no whole evaluation" if evaluating else "no batch"
            found = f"{what} after step {int(self.state.step.numpy())}: {error}"
            # In a loop of steps some may be half done.
            if evaluating or self.options.steps_per_loop == 1:
                window.check()
                self._save()
            remedy = self.input_remedy
        self.checkpointer.wait()
        steps = self.checkpointer.steps()
        kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "none saved"
        kind = InputFailed if isinstance(error, InputFailed) else type(error)
        return kind(f"{found}; {kept}: {remedy}")

    def _advance(
        self,
        batches: InterruptibleIterator[Batch],
        window: StepWindow,
        loop: StepLoop,
        step: int,
        *,
        alone: bool,
    ) -> int:
        """Train after `step`, one step if `alone`; tells how many steps it was."""
        count = 1 if alone else self._steps_at_once(step)
        if count > 1:
            window.run_steps(batches, loop, count)
            return count
        images, labels, *_ = window.run_step(batches, self.train_step)
        if step == 0:
            self._show_images(images, labels)
        return 1

    def _steps_at_once(self, step: int) -> int:
        """How many steps may follow `step` before the host has something to do."""
        log, checkpoint = self.options.log.every_steps, self.options.checkpoint.every_steps
        periods = (log, checkpoint, *(one.every_steps for one in self.evaluators))
        ends = [self.total_steps, *(every - step % every + step for every in periods if every)]
        if self.profile:
            ends += [edge for edge in self.profile.edges() if edge > step]
        return min(self.options.steps_per_loop, *(end - step for end in ends))

    def _is_due(self, step: int, every: int | None) -> bool:
        return step == self.total_steps or bool(every and step % every == 0)

    def _due_evaluators(self, step: int) -> list[Evaluator]:
        return [one for one in self.evaluators if step > 0 and self._is_due(step, one.every_steps)]

    def _is_over(self, step: int) -> bool:
        """Whether `step`, evaluated where that is due, is the last one."""
        patience = self.options.patience
        if not (patience and self.best and self.best.step is not None):
            return step >= self.total_steps
        name = str(self.options.checkpoint.keep_best).partition("/")[0]
        every = next(one.every_steps for one in self.evaluators if one.name == name)
        waited = patience * every if every else self.total_steps
        return step >= self.total_steps or step - self.best.step >= waited

    def _row(self, step: int, window: StepWindow, progress: Progress) -> dict[str, float]:
        """The scalars of a window, with those that are known here alone."""
        row = window.summary()
        row["train/parameter_norm"] = self.state.parameter_norm()
        if "speed/images_per_second" in row:
            row |= self.compute.rates(row["speed/images_per_second"])
        row[GOODPUT] = self.compute.goodput(window.seconds)
        eta = progress.eta_seconds(step)
        if eta is not None:
            row["speed/eta_seconds"] = eta
        return row | {DEVICE_HOURS: self.compute.device_hours()}

    def _check_workers(self, step: int) -> None:
        """Before a checkpoint is written of weights that are not those of all."""
        if self.strategy.extended._in_multi_worker_mode():
            self.watchdog.at("comparing its weights with the other workers'")
            check_workers_agree(
                self.strategy,
                {"step": step, "weights": self.state.fingerprint()},
                "the checkpoint before is kept; start all workers again, and if it comes back, "
                "suspect the memory or the device of the worker that differs",
            )

    def _save(self) -> float:
        """Begin to save; tells the seconds that training waited."""
        started = time.monotonic()
        self.watchdog.at("saving a checkpoint")
        self.log.flush()
        if self.best:  # which has to be there when this checkpoint is
            self.best.wait()
        self.checkpointer.save()
        return time.monotonic() - started

    def _evaluate(
        self, due: Sequence[Evaluator], step: int, progress: Progress, stop: StopSignal
    ) -> None:
        for evaluator in due:
            started = time.monotonic()
            name = evaluator.name
            try:
                metrics, confusions, classes = evaluator.evaluate(self._watched_reader(name, stop))
            except tf.errors.OpError as error:
                if not isinstance(failed_input(error), InputFailed):
                    raise
                raise EvaluationInputFailed(reason(error)) from error
            row = {f"{name}/{scalar}": value for scalar, value in metrics.items()}
            self.log.scalars(step, row | {name + SECONDS: time.monotonic() - started})
            if name == EVAL and classes is not None:
                self.log.class_scores(step, classes, self.class_names)
            if name == EVAL and self.options.log.pictures and self.log.writes:
                self._show_model(step, confusions)
            better = self.best is not None and self.best.offer(row)
            progress.note(
                f"step {step}: {'evaluation' if name == EVAL else name} "
                f"{_scores(row, name, ', ')} on {metrics['examples']:.0f} images"
                f"{', the best so far' * better}"
            )

    def _show_images(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        count = self.options.log.images
        if count and self.log.writes:
            local = [self.strategy.experimental_local_results(v)[0] for v in (images, labels)]
            shown, classes = (value[:count].numpy() for value in local)
            picture = labeled_images(shown, classes, self.class_names)
            self.log.picture(0, "train/augmented_images", picture)

    def _show_model(self, step: int, confusions: Confusions | None) -> None:
        """Pictures of the weights, and what is taken for what."""
        model = getattr(self.state.model, "vit", self.state.model)  # masked patches: the encoder
        with self.state.averaged_weights():
            figures = weight_figures(model)
        for name, figure in figures.items():
            self.log.picture(step, f"model/{name}", rasterized(figure))
        if confusions is None:
            return
        if confusions.num_classes <= DRAWN_CLASSES:
            figure = confusion_figure(confusions.matrix(), self.class_names)
            self.log.picture(step, "eval/confusion_matrix", rasterized(figure))
        else:
            table = confusions.most_confused(self.class_names)
            self.log.text(step, "eval/most_confused", table)


def _describe(row: dict[str, float]) -> str:
    speed = row.get("speed/images_per_second")  # none in the row of the first step alone
    return _scores(row, "train", " · ") + ("" if speed is None else f" · {speed:.0f} images/s")


def _scores(row: dict[str, float], prefix: str, between: str) -> str:
    """Loss and scores, of which an objective or an evaluation may have none."""
    loss = row.get(f"{prefix}/loss")
    told = [] if loss is None else [f"loss {loss:.3f}"]
    shown = {"mean_average_precision": "mAP", "f1": "F1"}
    for name, value in row.items():
        scalar = name.removeprefix(f"{prefix}/")
        if scalar in shown or (scalar.startswith("accuracy") and scalar != "accuracy_top5"):
            told.append(f"{shown.get(scalar, scalar.replace('_', ' '))} {value:.1%}")
    return between.join(told)
