"""A strategy of any number of replicas, to trace a step under that is compiled and not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

Result = TypeVar("Result")


class CompiledReplicas(tf.distribute.Strategy):  # type: ignore[misc]  # TensorFlow has no types
    """One replica's side of a program that `replicas` chips run.

    What the step sums over the replicas is an all-reduce in the program, as `TPUStrategy` makes
    it; variables have a shape and no contents. It can be traced, never run.
    """

    def __init__(self, replicas: int):
        super().__init__(_Extended(self, replicas))


class _Extended(tf.distribute.StrategyExtended):  # type: ignore[misc]
    def __init__(self, strategy: tf.distribute.Strategy, replicas: int):
        super().__init__(strategy)
        self._replicas = replicas

    @property
    def _num_replicas_in_sync(self) -> int:
        return self._replicas

    def _in_multi_worker_mode(self) -> bool:
        return False

    def _use_merge_call(self) -> bool:
        return False

    def value_container(self, value: tf.Variable) -> tf.Variable:
        return value

    def _get_local_replica_id(self, replica_id_in_sync_group: int) -> int:
        return replica_id_in_sync_group

    def call_for_each_replica(
        self,
        fn: Callable[..., Result],
        args: Sequence[tf.Tensor],
        kwargs: Mapping[str, tf.Tensor] | None = None,
    ) -> Result:
        with tf.distribute.ReplicaContext(self._container_strategy(), 0):
            return fn(*args, **(kwargs or {}))

    def _replica_ctx_all_reduce(
        self, reduce_op: tf.distribute.ReduceOp, value: Sequence[tf.Tensor], options: object = None
    ) -> list[tf.Tensor]:
        assert reduce_op == tf.distribute.ReduceOp.SUM  # the one that the step asks for
        if self._replicas == 1:
            return list(value)
        everyone = [list(range(self._replicas))]
        return [
            gen_xla_ops.xla_all_reduce(
                input=tensor, group_assignment=everyone, reduce_op="Add", mode="CrossReplica"
            )
            for tensor in value
        ]

    def _update(
        self,
        var: tf.Variable,
        fn: Callable[..., Result],
        args: Sequence[object],
        kwargs: Mapping[str, object],
        group: bool,
    ) -> Result:
        return fn(var, *args, **kwargs)

    def _create_variable(
        self, next_creator: Callable[..., tf.Variable], **kwargs: object
    ) -> tf.Variable:
        spec = _spec(kwargs["initial_value"], kwargs.get("dtype"))
        # Memory that is never written to is never taken from the machine.
        empty = tf.raw_ops.Empty(shape=spec.shape, dtype=spec.dtype, init=False)
        return next_creator(**{**kwargs, "initial_value": empty, "distribute_strategy": None})


def _spec(initial_value: object, dtype: tf.DType | None) -> tf.TensorSpec:
    if callable(initial_value):
        with tf.Graph().as_default():  # so that nothing is drawn
            return tf.TensorSpec.from_tensor(tf.convert_to_tensor(initial_value(), dtype))
    return tf.TensorSpec.from_tensor(tf.convert_to_tensor(initial_value, dtype))
