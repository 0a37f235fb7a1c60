"""The loop around the train step: metrics, evaluation, checkpoints, stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from groundwork.errors import InputFailed, TrainingDiverged, UserError
from groundwork.progress import Progress
from pipeline.figures.model_pictures import weight_figures
from pipeline.figures.rendering import rasterized
from pipeline.figures.transfer_figures import confusion_figure
from pipeline.process.stop_signal import StopSignal
from pipeline.training.loop.compute_meter import ComputeMeter
from pipeline.training.loop.confusion import Confusions
from pipeline.training.loop.evaluate import Evaluation
from pipeline.training.loop.loop_options import LoopOptions
from pipeline.training.loop.metrics_log import DEVICE_HOURS, MetricsLog
from pipeline.training.loop.pictures import labelled_images
from pipeline.training.loop.profile_window import ProfileWindow
from pipeline.training.loop.step_loop import StepLoop, make_step_loop
from pipeline.training.loop.step_window import StepWindow
from pipeline.training.state.best_checkpoint import BestCheckpoint
from pipeline.training.state.checkpoint import Checkpointer
from pipeline.training.state.train_state import TrainState
from pipeline.training.step.train_step import TrainStep

DRAWN_CLASSES = 100
"""With more classes the most frequent confusions are written as text."""


@dataclass
class TrainLoop:
    """Runs steps until `total_steps` or until it is told to stop.

    Attributes:
        options: what happens between the steps, and how often.
        batch_size: images in a global batch.
        input_remedy: what to do where a batch cannot be read.
        strategy: that the step runs on.
        state: what the steps change.
        train_step: see `make_train_step`.
        batches: distributed training batches from `state.step` on.
        evaluate: passes over the evaluation split; None: there is none.
        checkpointer: where to save.
        best: where to save the best evaluation's state; None: nowhere.
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
    batches: Iterable
    evaluate: Callable[[], Evaluation] | None
    checkpointer: Checkpointer
    best: BestCheckpoint | None
    log: MetricsLog
    compute: ComputeMeter
    class_names: Sequence[str]
    profile: ProfileWindow | None
    total_steps: int

    def run(self, stop: StopSignal) -> bool:
        """Train; tells whether `total_steps` was reached.

        On return there is a checkpoint of the state as it is.

        Raises:
            TrainingDiverged: the loss or the gradient's norm is not finite. The checkpoints are of
                steps before that.
            InputFailed: there is no next batch. Without `steps_per_loop` there is a checkpoint of
                the state as it is.
        """
        start = step = int(self.state.step.numpy())
        if step >= self.total_steps:
            return True
        progress = Progress("training", self.total_steps, step)
        batches = iter(self.batches)
        window = StepWindow(step, self.batch_size)
        step_loop = make_step_loop(self.train_step)
        extra: dict[str, float] = {}
        try:
            while step < self.total_steps and not stop.agreed(self.strategy, step):
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
                    row = self._row(step, window.summary() | extra, progress)
                    self.log.scalars(step, row)
                    progress.update(step, _describe(row))
                    window, extra = StepWindow(step, self.batch_size), {}
                if self._is_due(step, self.options.eval_every_steps):
                    window.check()
                    self._evaluate(step, progress)
                if self._is_due(step, self.options.checkpoint.every_steps):
                    window.check()
                    extra["speed/checkpoint_seconds"] = self._save()
            window.check()
        except (TrainingDiverged, InputFailed) as error:
            raise self._explained(error, window) from error.__cause__ or error
        finally:
            progress.close()
        self._save()
        self.checkpointer.wait()
        if self.best:
            self.best.wait()
        return step == self.total_steps

    def _explained(self, error: UserError, window: StepWindow) -> UserError:
        """`error` with its step, what is kept, and the remedy."""
        found = str(error)
        remedy = "try a lower optim.peak_lr, a longer optim.warmup_steps or optim.clip_norm=1"
        if isinstance(error, InputFailed):
            found = f"no batch after step {int(self.state.step.numpy())}: {error}"
            if self.options.steps_per_loop == 1:  # otherwise some steps may be half done
                window.check()
                self._save()
            remedy = self.input_remedy
        self.checkpointer.wait()
        steps = self.checkpointer.steps()
        kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "none saved"
        return type(error)(f"{found}; {kept}: {remedy}")

    def _advance(
        self, batches: Iterator, window: StepWindow, loop: StepLoop, step: int, *, alone: bool
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
        periods = (log, checkpoint, self.options.eval_every_steps or self.total_steps)
        ends = [self.total_steps, *(every - step % every + step for every in periods)]
        if self.profile:
            ends += [edge for edge in self.profile.edges() if edge > step]
        return min(self.options.steps_per_loop, *(end - step for end in ends))

    def _is_due(self, step: int, every: int | None) -> bool:
        return step == self.total_steps or bool(every and step % every == 0)

    def _row(self, step: int, row: dict[str, float], progress: Progress) -> dict[str, float]:
        """The scalars of a window, with those that are known here alone."""
        row["train/parameter_norm"] = float(tf.linalg.global_norm(self.state.variables))
        if "speed/images_per_second" in row:
            row |= self.compute.rates(row["speed/images_per_second"])
        eta = progress.eta_seconds(step)
        if eta is not None:
            row["speed/eta_seconds"] = eta
        return row | {DEVICE_HOURS: self.compute.device_hours()}

    def _save(self) -> float:
        """Begin to save; tells the seconds that training waited."""
        started = time.monotonic()
        self.log.flush()
        self.checkpointer.save()
        return time.monotonic() - started

    def _evaluate(self, step: int, progress: Progress) -> None:
        if self.evaluate is None:
            return
        started = time.monotonic()
        metrics, confusions = self.evaluate()
        row = {f"eval/{name}": value for name, value in metrics.items()}
        self.log.scalars(step, row | {"eval/seconds": time.monotonic() - started})
        if self.options.log.pictures and self.log.writes:
            self._show_model(step, confusions)
        better = self.best is not None and self.best.offer(row)
        progress.note(
            f"step {step}: evaluation {_scores(row, 'eval', ', ')} on "
            f"{metrics['examples']:.0f} images{', the best so far' * better}"
        )

    def _show_images(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        count = self.options.log.images
        if count and self.log.writes:
            local = [self.strategy.experimental_local_results(v)[0] for v in (images, labels)]
            shown, classes = (value[:count].numpy() for value in local)
            picture = labelled_images(shown, classes, self.class_names)
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


def _scores(row: dict[str, float], split: str, between: str) -> str:
    scores = [f"loss {row[f'{split}/loss']:.3f}"]
    accuracy = row.get(f"{split}/accuracy")  # the objective may have none
    return between.join(scores if accuracy is None else [*scores, f"accuracy {accuracy:.1%}"])
