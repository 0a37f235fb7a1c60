"""All that training changes, and nothing else: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from pipeline.training.optimizers.make_optimizer import make_optimizer
from pipeline.training.optimizers.optim_config import OptimConfig
from pipeline.training.optimizers.own_copy import own_copy
from pipeline.training.optimizers.weight_rules import weight_rules
from pipeline.training.state.loss_scale import LossScale

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
"""End of a variable's name in a checkpoint."""


HASH_FACTOR = -7046029254386353131
"""2⁶⁴ divided by the golden ratio, odd, as int64 (Knuth, TAOCP 6.4)."""


class TrainState:
    """Model, optimizer, moving average of the weights and step.

    Create it under the strategy's scope.

    Attributes:
        model: the model that is trained.
        optimizer: with its slots, such as moments.
        ema: moving averages of the trainable weights, in their order; empty without `ema_decay`.
        loss_scale: of float16; None: the loss is not scaled.
        step: int64, batches finished.
        seed: int64, of the run: a checkpoint made with another seed belongs to another run.
    """

    def __init__(
        self,
        model: keras.Model,
        optim: OptimConfig,
        *,
        seed: int,
        ema_decay: float | None = None,
        scale_loss: bool = False,
    ):
        """Make the slots and averages of `model`'s trainable weights.

        Raises:
            UserError: `optim` asks for what the model does not have.
        """
        self.model = model
        self.variables = [weight.value for weight in model.trainable_variables]
        self.optimizer = make_optimizer(
            model.trainable_variables, weight_rules(model, optim), optim
        )
        self._ema_step = 1.0 - (ema_decay or 0.0)
        self.ema: list[tf.Variable] = []
        if ema_decay is not None:
            self.ema = [tf.Variable(tf.identity(v), trainable=False) for v in self.variables]
        self.loss_scale = LossScale() if scale_loss else None
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.seed = tf.Variable(seed, dtype=tf.int64, trainable=False, name="seed")
        # One call each instead of several operations a variable, sent one by one.
        self._exchange = tf.function(self._exchange_averages)
        self._norm = tf.function(lambda: tf.linalg.global_norm(self.variables))
        self._fingerprint = tf.function(lambda: _hash_of(self.variables))

    def trackable(
        self, replaced: Callable[[tf.Variable], tf.Variable] = lambda variable: variable
    ) -> tf.train.Checkpoint:
        """The state as one checkpoint object; weights go by their paths.

        Args:
            replaced: gives what stands for each variable, such as a copy.
        """
        return tf.train.Checkpoint(
            step=replaced(self.step),
            seed=replaced(self.seed),
            **{
                name: _Table({path: replaced(variable) for path, variable in table.items()})
                for name, table in self._tables().items()
            },
        )

    def shapes(self) -> dict[str, list[int]]:
        """The shape of each variable, by the name that it has in a checkpoint."""
        return {
            f"{name}/table/{path.replace('/', '.').replace('.', '..')}{VALUE}": (
                variable.shape.as_list()
            )
            for name, table in self._tables().items()
            for path, variable in table.items()
        }

    def _tables(self) -> dict[str, dict[str, tf.Variable]]:
        """The variables, by what they are and by the path of their weight."""
        weights = self.model.trainable_variables
        paths = [weight.path for weight in weights]
        if len(set(paths)) < len(paths):
            raise ValueError(f"weights of {self.model.name} share a path: {sorted(paths)}")
        # Not `variables`: those hold the states of random generators, which the step passes by.
        tables: dict[str, dict[str, tf.Variable]] = {
            "model": {weight.path: weight.value for weight in self.model.weights},
            "ema": dict(zip(paths, self.ema, strict=False)),
            "optimizer": dict(self.optimizer.shared),
        }
        for path, slots in zip(paths, self.optimizer.slots, strict=True):
            for name, slot in slots.items():
                tables.setdefault(name, {})[path] = slot
        if self.loss_scale is not None:
            tables["loss_scale"] = self.loss_scale.variables()
        return tables

    def update_ema(self) -> None:
        """Move the averages towards the weights, from within a replica."""
        for average, weight in zip(self.ema, self.variables, strict=False):
            own = own_copy(average)
            own.assign_sub(self._ema_step * (own - own_copy(weight)))

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within it the model carries the averages, where the run or its optimizer keeps them."""
        if self.ema:
            self._exchange()
            try:
                yield
            finally:
                self._exchange()
            return
        averages = self.optimizer.averages()
        if averages is None:
            yield
            return
        trained = [tf.identity(variable) for variable in self.variables]
        _assign(self.variables, averages)
        try:
            yield
        finally:
            _assign(self.variables, trained)

    def take_averages(self) -> None:
        """The weights become the averages, where the run or its optimizer keeps them: for good."""
        averages = self.ema or self.optimizer.averages()
        if averages is not None:
            _assign(self.variables, averages)

    def adopt_weights(self) -> None:
        """To call where the weights are given other values before the first step."""
        if self.ema:
            _assign(self.ema, self.variables)
        self.optimizer.adopt_weights()

    def _exchange_averages(self) -> None:
        """The model gets the averages, the averages' variables what is trained."""
        pairs = list(zip(self.variables, self.ema, strict=True))
        values = [(tf.identity(weight), tf.identity(average)) for weight, average in pairs]
        for (weight, average), (trained, averaged) in zip(pairs, values, strict=True):
            weight.assign(averaged)
            average.assign(trained)

    def parameter_norm(self) -> float:
        """L2 norm of all trained weights."""
        return float(self._norm())

    def fingerprint(self) -> int:
        """A number of 64 bits that follows from every bit of the weights, and from their places."""
        return int(self._fingerprint())


def _assign(variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _hash_of(variables: Sequence[tf.Variable]) -> tf.Tensor:
    """int64 scalar; sums and products wrap around, so that their order does not matter."""
    total = tf.constant(len(variables), tf.int64)
    for variable in variables:
        bits = tf.cast(tf.bitcast(tf.reshape(variable, [-1]), tf.int32), tf.int64)
        places = tf.range(1, 2 * tf.size(bits, tf.int64), 2, tf.int64)  # odd: no bit gets lost
        total = total * HASH_FACTOR + tf.reduce_sum(bits * places * HASH_FACTOR)
    return total


class _Table(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Variables by name, as a checkpoint wants them."""

    def __init__(self, table: dict[str, tf.Variable]):
        super().__init__()
        self.table = {path.replace("/", "."): variable for path, variable in table.items()}
