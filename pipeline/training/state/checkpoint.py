"""Saving and restoring the train state.

Precedence at start: the newest checkpoint of the run's own workdir, else that of `resume`, else
the weights of `init_from`, else from scratch.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable

import keras
import tensorflow as tf

from groundwork.errors import UserError, one_line
from pipeline.training.state.checkpoint_files import checkpoints_in, local_checkpoint, step_of
from pipeline.training.state.checkpoint_writer import CheckpointWriter
from pipeline.training.state.train_state import VALUE, TrainState

# TensorFlow's reader turns a short file into an IndexError or RuntimeError of Python's.
# FileNotFoundError: another process has removed it meanwhile, as it was no longer the newest.
DAMAGED = (tf.errors.OpError, IndexError, RuntimeError, FileNotFoundError)
WITHOUT_WEIGHTS = ("activation", "norm", "rope")
"""Options that change what a model computes, and that its weights do not tell."""


class Checkpointer:
    """Checkpoints of one run, newest last; a damaged one is passed over for the one before."""

    def __init__(self, state: TrainState, folder: str, keep: int = 1, write: bool = True):
        """Keep the `keep` newest checkpoints in `folder`; only the chief has `write`."""
        self._state = state
        self._folder = folder
        self._keep = keep
        self._write = write
        self._writer: CheckpointWriter | None = None
        self._current: int | None = None  # step of the checkpoint that equals the state

    def save(self) -> None:
        """Begin to write the state as it is now, under the number of its step.

        Raises:
            DiskFull: the save before could not be written; the checkpoints before it are kept.
        """
        step = int(self._state.step.numpy())
        if self._write and step != self._current:
            if self._writer is None:  # a copy of the state: not for one that only reads
                self._writer = CheckpointWriter(self._state, self._folder, self._keep)
            self._writer.save(step)
            self._current = step

    def check(self) -> None:
        """Raise DiskFull as soon as it is known that the last save could not be written."""
        if self._writer:
            self._writer.check()

    def wait(self) -> None:
        """Wait until what was saved is written; raises as `check`."""
        if self._writer:
            self._writer.wait()

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are written, oldest first."""
        return [step_of(path) for path in checkpoints_in(self._folder)]

    def restore(self, step: int | None = None) -> int | None:
        """Restore the newest readable checkpoint, or that of `step`.

        Returns:
            Its step; None where the folder holds no checkpoint.

        Raises:
            UserError: all are damaged, none is of `step`, or they are of another model.
        """
        paths = checkpoints_in(self._folder)
        paths = [path for path in paths if step is None or step_of(path) == step]
        if step is not None and not paths:
            raise UserError(
                f"no checkpoint of step {step} in {self._folder}: there are {self.steps()}"
            )
        for path in reversed(paths):
            if self._restore_path(path):
                self._current = step_of(path)
                return self._current
        if paths:
            raise UserError(
                f"every checkpoint in {self._folder} is damaged: restore one from a backup, or "
                f"choose another workdir to begin anew"
            )
        return None

    def _restore_path(self, path: str) -> bool:
        try:
            with local_checkpoint(path) as local:
                self._check_shapes(local, path)
                # Not `restore`, which adds a counter of its own that `write` does not keep.
                status = self._state.trackable().read(local).expect_partial()
                status.assert_existing_objects_matched()
        except DAMAGED as error:
            print(f"checkpoint {path} is damaged ({type(error).__name__}); trying the one before")
            return False
        except (AssertionError, ValueError) as error:
            raise _of_another_model(path, one_line(error)) from error
        return True

    def _check_shapes(self, local: str, path: str) -> None:
        """Compare before restoring: TensorFlow would warn at length after an error of its own."""
        kept = tf.train.load_checkpoint(local).get_variable_to_shape_map()
        wrong = []
        for name, shape in self._state.shapes().items():
            found = kept.get(name)
            if found != shape:
                told = "none" if found is None else str(tuple(found))
                weight = name.removesuffix(VALUE).replace("/table/", " ").replace("..", "/")
                wrong.append(f"{weight}: {told} there, {tuple(shape)} here")
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise _of_another_model(path, "; ".join(wrong[:3]) + more)


def _of_another_model(path: str, how: str) -> UserError:
    return UserError(
        f"checkpoint {path} is of another model or optimizer ({how}): give the configuration it "
        "was made with, or another workdir"
    )


def start_state(
    state: TrainState,
    own: Checkpointer,
    resume: str | None,
    init_from: str | None,
    load: Callable[[str, tuple[int, int]], keras.Model],
) -> str:
    """Bring `state` to where training starts, by the precedence above; tells which it was.

    Args:
        state: to change.
        own: checkpoints of the workdir.
        resume: another workdir.
        init_from: name of a model.
        load: gives that model for a height and width.

    Raises:
        UserError: what is named does not exist or does not fit.
    """
    seed = int(state.seed.numpy())
    step = own.restore()
    if step is not None:
        begun_with = int(state.seed.numpy())
        if begun_with != seed:
            raise UserError(
                f"the workdir was begun with seed {begun_with}, not {seed}: give that seed, "
                f"or another workdir"
            )
        ignored = {"resume": resume, "init_from": init_from}
        given = " and ".join(f"{name} {value}" for name, value in ignored.items() if value)
        return f"resumed at step {step}" + (
            f" ({given} not taken: the workdir has a checkpoint of its own)" if given else ""
        )
    if resume:
        other = Checkpointer(state, posixpath.join(resume, "checkpoints"), keep=1, write=False)
        step = other.restore()
        if step is None:
            raise UserError(f"resume: no checkpoint in {resume}/checkpoints")
        state.seed.assign(seed)
        return f"resumed from {resume} at step {step}"
    if init_from:
        left = _copy_weights(state, init_from, load(init_from, state.model.image_size))
        return f"weights from {init_from}" + (
            f" (not taken, the model has no place for them: {left})" if left else ""
        )
    return "from scratch"


def _copy_weights(state: TrainState, path: str, source: keras.Model) -> str:
    """Copy what fits; gives the layers, but for heads, that were left out."""
    _check_function(source, state.model, path)
    values = {weight.path: weight for weight in source.trainable_variables}
    head = {weight.path for weight in state.model.get_layer("head").weights}
    places = [weight for weight in state.model.weights if "/lora_" not in weight.path]
    wrong = []
    for weight in places:
        value = values.get(weight.path)
        if value is not None and value.shape == weight.shape:
            weight.assign(value)
        elif weight.path not in head:
            found = "missing" if value is None else f"{tuple(value.shape)}"
            wrong.append(f"{weight.path} {tuple(weight.shape)}: {found}")
    if wrong:
        raise UserError(f"init_from: {path} has another architecture: {'; '.join(wrong[:5])}")
    state.adopt_weights()
    layers = [weight.path.split("/")[1] for weight in source.trainable_variables]
    paths = [weight.path for weight in source.trainable_variables]
    taken = {weight.path for weight in places}
    left = [layer for path, layer in zip(paths, layers, strict=True) if path not in taken]
    return ", ".join(sorted(set(left) - {"head", "pre_logits"}))


def _check_function(source: keras.Model, model: keras.Model, path: str) -> None:
    """Refuse weights that would compute something else here, without a word."""
    theirs, ours = source.get_config(), model.get_config()
    for name in WITHOUT_WEIGHTS:
        there, here = theirs.get(name), ours.get(name)
        if name in theirs and name in ours and there != here:
            told = "null" if there is None else there
            raise UserError(
                f"init_from: {path} was trained with {name} {told}, not {here}: give "
                f"--model.{name} {told}"
            )
