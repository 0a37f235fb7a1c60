"""The loop around the train step: metrics, evaluation, checkpoints, stopping."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import tensorflow as tf

from pipeline.config import PretrainConfig
from pipeline.errors import TrainingDiverged
from pipeline.training.best_checkpoint import BestCheckpoint
from pipeline.training.checkpoint import Checkpointer
from pipeline.training.metrics_log import MetricsLog
from pipeline.training.progress import Progress
from pipeline.training.step_window import StepWindow
from pipeline.training.stop_signal import StopSignal
from pipeline.training.train_state import TrainState
from pipeline.training.train_step import TrainStep


@dataclass
class TrainLoop:
    """Runs steps until `total_steps` or until it is told to stop.

    Attributes:
        config: of the run.
        strategy: that the step runs on.
        state: what the steps change.
        train_step: see `make_train_step`.
        batches: distributed training batches from `state.step` on.
        evaluate: gives metrics of the evaluation split; None: there is none.
        checkpointer: where to save.
        best: where to save the best evaluation's state; None: nowhere.
        log: where scalars and pictures go.
        total_steps: of the whole run.
    """

    config: PretrainConfig
    strategy: tf.distribute.Strategy
    state: TrainState
    train_step: TrainStep
    batches: Iterable
    evaluate: Callable[[], dict[str, float]] | None
    checkpointer: Checkpointer
    best: BestCheckpoint | None
    log: MetricsLog
    total_steps: int

    def run(self, stop: StopSignal) -> bool:
        """Train; tells whether `total_steps` was reached.

        On return there is a checkpoint of the state as it is.

        Raises:
            TrainingDiverged: the loss or the gradient's norm is not finite. The checkpoints are of
                steps before that.
        """
        step = int(self.state.step.numpy())
        if step >= self.total_steps:
            return True
        progress = Progress("training", self.total_steps, step)
        batches = iter(self.batches)
        window = StepWindow(step, self.config.batch_size)
        try:
            while step < self.total_steps and not stop.agreed(self.strategy, step):
                images, *_ = window.run_step(batches, self.train_step)
                step += 1
                if step == 1:
                    self._show_images(images)
                if self._is_due(step, self.config.log.every_steps):
                    row = window.summary()
                    self.log.scalars(step, row)
                    progress.update(step, _describe(row))
                    window = StepWindow(step, self.config.batch_size)
                if self._is_due(step, self.config.eval_every_steps):
                    window.check()
                    self._evaluate(step, progress)
                if self._is_due(step, self.config.checkpoint.every_steps):
                    window.check()
                    self._save()
            window.check()
        except TrainingDiverged as error:
            kept = self.checkpointer.steps()
            raise TrainingDiverged(
                f"{error}; {f'the checkpoint of step {kept[-1]} is kept' if kept else 'none saved'}"
                ": try a lower optim.peak_lr, a longer optim.warmup_steps or optim.clip_norm=1"
            ) from error
        finally:
            progress.close()
        self._save()
        return step == self.total_steps

    def _is_due(self, step: int, every: int | None) -> bool:
        return step == self.total_steps or bool(every and step % every == 0)

    def _save(self) -> None:
        self.log.flush()
        self.checkpointer.save()

    def _evaluate(self, step: int, progress: Progress) -> None:
        if self.evaluate is None:
            return
        metrics = self.evaluate()
        row = {f"eval/{name}": value for name, value in metrics.items()}
        self.log.scalars(step, row)
        better = self.best is not None and self.best.offer(row)
        progress.note(
            f"step {step}: evaluation accuracy {metrics['accuracy']:.1%}, "
            f"loss {metrics['loss']:.3f} on {metrics['examples']:.0f} images"
            f"{', the best so far' * better}"
        )

    def _show_images(self, images: tf.Tensor) -> None:
        if self.config.log.images:
            shown = self.strategy.experimental_local_results(images)[0][: self.config.log.images]
            self.log.images(0, "train/augmented_images", shown.numpy())


def _describe(row: dict[str, float]) -> str:
    return (
        f"loss {row['train/loss']:.3f} · accuracy {row['train/accuracy']:.1%} · "
        f"{row['speed/images_per_second']:.0f} images/s"
    )
