"""The order in which training reads records: a pure function of (seed, epoch).

An epoch permutes the shards, lays their records end to end and cuts the line into equal streams.
Each stream is permuted within windows, and the streams are dealt out in turn:

    epoch position p  =  record (p // streams) of stream (p % streams)

So the images of a global batch depend neither on how many hosts read nor on where a run was
stopped, memory is bounded by the windows, files are read front to back, and going on at any step
skips records of at most one window and one shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from pipeline.data.batches.seeds import derived_seed
from pipeline.data.dataset.split import FileRange, whole_range

MAX_STREAMS = 8


@dataclass(frozen=True)
class EpochOrder:
    """Order of the records of one split.

    Attributes:
        files: the split's records.
        batch_size: images in a global batch; the last, short batch of an epoch is left out (other
            images each epoch, for the shards are permuted).
        shuffle_window: records that all streams together hold for shuffling.
        seed: of the run.
    """

    files: Sequence[FileRange]
    batch_size: int
    shuffle_window: int
    seed: int

    @property
    def num_records(self) -> int:
        """Records of the split."""
        return sum(file.take for file in self.files)

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in an epoch."""
        return self.num_records // self.batch_size

    @property
    def streams(self) -> int:
        """Streams: a power of two that divides the batch, no more than there are files."""
        streams = 1
        while streams * 2 <= min(MAX_STREAMS, len(self.files)) and not self.batch_size % (
            streams * 2
        ):
            streams *= 2
        return streams

    @property
    def window(self) -> int:
        """Records that one stream permutes at a time."""
        return max(1, self.shuffle_window // self.streams)

    def check_hosts(self, num_hosts: int) -> None:
        """Raise a ValueError where the streams cannot be dealt evenly to the hosts."""
        if self.streams % num_hosts:
            raise ValueError(
                f"{self.streams} input streams (from {len(self.files)} files and batch_size "
                f"{self.batch_size}) cannot be shared by {num_hosts} hosts: build the dataset with "
                f"at least {num_hosts} shards and choose a batch_size that {num_hosts} divides"
            )

    def dataset(self, start_step: int, host: int = 0, num_hosts: int = 1) -> tf.data.Dataset:
        """The records one host reads from `start_step` on, without end.

        Yields:
            `(serialized, epoch, record)`: string scalar, and two int64 scalars; `record` numbers
            the split's records from 0.

        Raises:
            ValueError: the streams cannot be dealt evenly to the hosts.
        """
        self.check_hosts(num_hosts)
        first_epoch, step_in_epoch = divmod(start_step, self.steps_per_epoch)
        done = step_in_epoch * self.batch_size // self.streams
        own_streams = tf.data.Dataset.range(host, self.streams, num_hosts)

        def epoch_dataset(epoch: tf.Tensor) -> tf.data.Dataset:
            consumed = tf.where(epoch == first_epoch, tf.constant(done, tf.int64), 0)
            return own_streams.interleave(
                lambda stream: self._stream(epoch, stream, consumed),
                cycle_length=self.streams // num_hosts,
                block_length=1,
                num_parallel_calls=self.streams // num_hosts,
                deterministic=True,
            )

        epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
        return epochs.flat_map(epoch_dataset)

    def _stream(self, epoch: tf.Tensor, stream: tf.Tensor, consumed: tf.Tensor) -> tf.data.Dataset:
        """One stream of one epoch, without its first `consumed` records."""
        length = self.steps_per_epoch * self.batch_size // self.streams
        first_window = consumed // self.window
        start = stream * (self.num_records // self.streams)
        pieces = self._pieces(epoch, start + first_window * self.window, start + length)

        def permute(number: tf.Tensor, window: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            serialized, record = window
            seed = self._seed(epoch * MAX_STREAMS + stream, number + 1)
            order = _permutation(tf.size(record), seed)
            return tf.gather(serialized, order), tf.gather(record, order)

        windows = pieces.batch(self.window).enumerate(first_window).map(permute).prefetch(1)
        records = windows.unbatch().skip(consumed - first_window * self.window)
        return records.map(lambda serialized, record: (serialized, epoch, record))

    def _pieces(self, epoch: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """Records `start` to `stop` of the line of shards of this epoch, as (bytes, number)."""
        takes = tf.constant([file.take for file in self.files], tf.int64)
        first_record = tf.cumsum(takes, exclusive=True)
        order = _permutation(len(self.files), self._seed(epoch, tf.constant(0, tf.int64)))
        takes = tf.gather(takes, order)
        ends = tf.cumsum(takes)
        begins = ends - takes
        low = tf.maximum(start, begins) - begins
        high = tf.minimum(stop, ends) - begins
        table = {
            "path": tf.gather(tf.constant([file.path for file in self.files]), order),
            "skip": tf.gather(tf.constant([file.skip for file in self.files], tf.int64), order),
            "record": tf.gather(first_record, order),
            "low": low,
            "count": high - low,
        }

        def read(row: dict[str, tf.Tensor]) -> tf.data.Dataset:
            records = tf.data.TFRecordDataset(row["path"], buffer_size=8 << 20)
            numbers = tf.data.Dataset.range(row["record"] + row["low"], tf.int64.max)
            rest = records.skip(row["skip"] + row["low"])
            wanted = whole_range(rest, row["path"], row["count"])
            return tf.data.Dataset.zip((wanted, numbers))

        rows = tf.data.Dataset.from_tensor_slices(table)
        return rows.filter(lambda row: row["count"] > 0).flat_map(read)

    def _seed(self, stream: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
        return derived_seed(self.seed, stream, window)


def _permutation(size: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A random order of `range(size)`, the same for the same `seed`."""
    keys = tf.random.stateless_uniform([size], seed, None, None, tf.int64)
    return tf.argsort(keys, stable=True)
