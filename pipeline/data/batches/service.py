"""Decode and augment on other machines, by the tf.data service, in the same order as here.

Every worker of the service reads all records, but decodes only each N-th batch, by static sharding:
which batches those are follows from its place in the dispatcher's list, not from its speed. The
batches carry their number, and are put back in order here. So they are the ones that this host
would have made by itself, bit for bit, and a lost batch is an error.

While a worker is gone, the service gives the batches of the others, which this host has to hold in
memory; when it is back it begins anew. It may fall behind by BEHIND batches; more is an error.
"""

from __future__ import annotations

import functools
import socket
import uuid
from collections.abc import Callable

import tensorflow as tf

from groundwork.errors import UserError

CONNECT_SECONDS = 20
BEHIND = 16
HINT = tf.data.experimental.SHARD_HINT


def served_batches(
    records: tf.data.Dataset,
    view: Callable[..., tuple[tf.Tensor, ...]],
    batch_size: int,
    *,
    service: str,
    workers: int,
) -> tf.data.Dataset:
    """What `records.map(view).batch(batch_size)` gives, made by the service.

    Args:
        records: endless; every worker reads them.
        view: what the workers do with each.
        batch_size: of a batch.
        service: grpc://host:port of the dispatcher.
        workers: of the dispatcher's list. More than there are only means that more batches wait.

    Raises:
        UserError: nobody answers at `service`.
    """
    _check_dispatcher(service)

    def examples(number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tf.data.Dataset:
        numbers = tf.fill([batch_size], number)
        return tf.data.Dataset.from_tensor_slices((numbers, *batch))

    batches = records.batch(batch_size, drop_remainder=True)
    own = batches.map(lambda *batch: batch).enumerate().shard(HINT, HINT).flat_map(examples)
    views = own.map(
        lambda number, *record: (number, *view(*record)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    made = views.batch(batch_size, drop_remainder=True).prefetch(2)
    made = made.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    # Read from the workers in turn, so that none runs ahead of the others.
    distribute = tf.data.experimental.service.distribute(
        tf.data.experimental.service.ShardingPolicy.HINT,
        service,
        job_name=uuid.uuid4().hex,
        consumer_index=0,
        num_consumers=1,
        compression=None,
    )
    return _in_order(made.apply(distribute), workers)


def _in_order(batches: tf.data.Dataset, workers: int) -> tf.data.Dataset:
    """Sort batches by the number they carry, and take it off.

    Each worker's come in order; so the first `workers` of them are complete before the next are.
    """

    def sort(key: tf.Tensor, window: tf.data.Dataset) -> tf.data.Dataset:
        places = [
            window.filter(lambda number, *_, place=place: number[0] % workers == place)
            for place in range(workers)
        ]
        return functools.reduce(tf.data.Dataset.concatenate, places)

    def in_time(arrival: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        late = tf.debugging.assert_less(
            tf.abs(batch[0][0] - arrival),
            tf.constant(workers + BEHIND, tf.int64),
            "A worker of the tf.data service is gone, or was started again.",
        )
        with tf.control_dependencies([late]):
            return tuple(tf.identity(value) for value in batch)

    def in_turn(expected: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        number, *values = batch
        right = tf.debugging.assert_equal(
            number,
            expected,
            "The tf.data service left a batch out: data.service_workers is smaller than the number "
            "of workers, or one of them was started again.",
        )
        with tf.control_dependencies([right]):
            return tuple(tf.identity(value) for value in values)

    windows = (
        batches.enumerate()
        .map(in_time)
        .group_by_window(lambda number, *_: number[0] // workers, sort, window_size=workers)
    )
    return windows.map(lambda *batch: batch).enumerate().map(in_turn)


def _check_dispatcher(service: str) -> None:
    """TensorFlow would wait for the dispatcher for an hour."""
    host, _, port = service.removeprefix("grpc://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"data.service {service}: no dispatcher answers there ({error}): start one with "
            "python -m pipeline.data_service --role dispatcher"
        ) from error
