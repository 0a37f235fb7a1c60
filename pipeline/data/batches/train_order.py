"""The order in which training reads records: a pure function of (seed, epoch).

An epoch lays the records on a line: chunks of them, permuted. Windows cut the line; of a window of
k steps each of the batch's places gets k records that follow each other, in an order of its own:

    place p of step s  =  one of records p·k to p·k + k - 1 of window s // k

With repeated augmentation a batch has fewer records than places. Place p reads those of place p
modulo their number, moved by one at each repeat: neighbors, which MixUp mixes, are other images.

So the images of a global batch depend neither on how many hosts read nor on where a run was
stopped. A host reads its own places alone, which lie side by side on the line: any number of hosts
that divides the batch shares any number of shards. Memory is bounded by the window, and going on at
any step reads at most one window again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from pipeline.data.batches.seeds import derived_seed
from pipeline.data.dataset.record_index import index_paths
from pipeline.data.dataset.split import FileRange, whole_range

LARGEST_CHUNK = 256
"""Records that are read front to back wherever they come in an epoch."""
CHUNKS = 256
"""The fewest chunks to permute, where there are records enough."""
READERS = 8
"""Pieces of files that a host reads at a time."""
OFFSET_BYTES = 8
PERMUTE, ROTATE, SHUFFLE = range(3)
"""What a seed of an epoch is for."""


@dataclass(frozen=True)
class EpochOrder:
    """Order of the records of one split.

    Attributes:
        files: the split's records.
        batch_size: images in a global batch; the last, short batch of an epoch is left out (other
            images each epoch).
        shuffle_window: records that all hosts together hold for shuffling, and as many again that
            are read ahead.
        seed: of the run.
        repeats: views of each record in a batch (the last one of a batch that it does not divide
            has fewer). An epoch keeps its number of steps, and has that many times fewer records.
    """

    files: Sequence[FileRange]
    batch_size: int
    shuffle_window: int
    seed: int
    repeats: int = 1

    @property
    def num_records(self) -> int:
        """Records of the split."""
        return sum(file.take for file in self.files)

    @property
    def batch_records(self) -> int:
        """Records of a global batch."""
        return -(-self.batch_size // self.repeats)

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in an epoch."""
        return self.num_records // self.batch_size

    @property
    def window_steps(self) -> int:
        """Steps of a window."""
        return max(1, min(self.shuffle_window // self.batch_size, self.steps_per_epoch))

    @property
    def windows_per_epoch(self) -> int:
        """Windows in an epoch; the last one may be shorter."""
        return -(-self.steps_per_epoch // self.window_steps)

    @property
    def chunk(self) -> int:
        """Records of a chunk."""
        return max(1, min(LARGEST_CHUNK, self.num_records // CHUNKS))

    def check_hosts(self, num_hosts: int) -> None:
        """Raise a ValueError where the places of a batch cannot be dealt evenly to the hosts."""
        if self.batch_size % num_hosts:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared by {num_hosts} hosts: choose a "
                f"multiple of {num_hosts}, such as "
                f"{max(1, self.batch_size // num_hosts) * num_hosts}"
            )

    def dataset(self, start_step: int, host: int = 0, num_hosts: int = 1) -> tf.data.Dataset:
        """The records one host reads from `start_step` on, without end.

        Yields:
            `(serialized, epoch, view)`: string scalar, and two int64 scalars. `view` modulo the
            number of records numbers the split's records from 0; divided by it, the repeats.

        Raises:
            ValueError: the batch cannot be dealt evenly to the hosts.
            UserError: a shard is not whole.
        """
        self.check_hosts(num_hosts)
        reader = _Reader(self, self.batch_size // num_hosts, host)
        epoch, step = divmod(start_step, self.steps_per_epoch)
        first = epoch * self.windows_per_epoch + step // self.window_steps
        windows = tf.data.Dataset.range(first, tf.int64.max).interleave(
            reader.window,
            cycle_length=2,  # the one in use, and the next
            block_length=1,
            num_parallel_calls=2,
            deterministic=True,
        )
        return windows.unbatch().skip(step % self.window_steps * reader.places)


class _Reader:
    """Reads one host's places of each window."""

    def __init__(self, order: EpochOrder, places: int, host: int):
        self.places = places
        self._order = order
        own = tf.range(host * places, (host + 1) * places, dtype=tf.int64)
        self._repeats = own // order.batch_records
        self._own = (own + self._repeats) % order.batch_records
        takes = [file.take for file in order.files]
        indexes = index_paths(file.path for file in order.files)
        self._ends = tf.cumsum(tf.constant(takes, tf.int64))
        self._begins = self._ends - tf.constant(takes, tf.int64)
        self._skips = tf.constant([file.skip for file in order.files], tf.int64)
        self._paths = tf.constant([file.path for file in order.files])
        self._indexes = tf.constant([indexes[file.path] for file in order.files])

    def window(self, number: tf.Tensor) -> tf.data.Dataset:
        """One element: the host's records of a window, in the order of the steps."""
        order = self._order
        epoch, window = number // order.windows_per_epoch, number % order.windows_per_epoch
        first_step = window * order.window_steps
        steps = tf.minimum(
            tf.constant(order.window_steps, tf.int64), order.steps_per_epoch - first_step
        )
        start = first_step * order.batch_records + self._own * steps
        positions = tf.reshape(start[:, None] + tf.range(steps), [-1])
        records = self._records(epoch, positions)
        pieces = tf.data.Dataset.from_tensor_slices(self._pieces(records))
        serialized = pieces.interleave(
            _read,
            cycle_length=READERS,
            block_length=order.chunk,  # a whole piece
            num_parallel_calls=READERS,
            deterministic=True,
        )
        shuffled = self._shuffle(epoch, window, steps)

        views = records + tf.repeat(self._repeats, steps) * order.num_records

        def in_order(values: tf.Tensor) -> tuple[tf.Tensor, ...]:
            numbers = tf.gather(views, shuffled)
            return tf.gather(values, shuffled), tf.fill(tf.shape(numbers), epoch), numbers

        return serialized.batch(self.places * steps).map(in_order)

    def _records(self, epoch: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """Numbers of the records that lie at `positions`, int64, of the line of an epoch."""
        order = self._order
        chunks = order.num_records // order.chunk
        slot, within = positions // order.chunk, positions % order.chunk
        # What is left after the last whole chunk ends the line; it is rotated, so that these are
        # other records each epoch.
        permuted = permuted_chunk(tf.minimum(slot, chunks - 1), chunks, self._seed(epoch, PERMUTE))
        number = tf.where(slot < chunks, permuted, slot) * order.chunk + within
        rotation = tf.random.stateless_uniform(
            [], self._seed(epoch, ROTATE), 0, order.num_records, tf.int64
        )
        return (number + rotation) % order.num_records

    def _pieces(self, records: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs of records that follow each other in a file."""
        file = tf.searchsorted(self._ends, records, side="right", out_type=tf.int64)
        place = records - tf.gather(self._begins, file) + tf.gather(self._skips, file)
        count = tf.size(records, tf.int64)
        follows = (file[1:] == file[:-1]) & (place[1:] == place[:-1] + 1)
        # no piece is longer than a chunk, so that each is read by one turn of the readers
        follows &= (tf.range(1, count) % self._order.chunk) != 0
        first = tf.concat([[0], tf.where(~follows)[:, 0] + 1], 0)
        file = tf.gather(file, first)
        return {
            "path": tf.gather(self._paths, file),
            "index": tf.gather(self._indexes, file),
            "first": tf.gather(place, first),
            "count": tf.concat([first[1:], [count]], 0) - first,
        }

    def _shuffle(self, epoch: tf.Tensor, window: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """Step by step, which of the host's records of a window each place gets."""
        order = self._order
        seed = self._seed(epoch, SHUFFLE + window)
        keys = tf.random.stateless_uniform([order.batch_records, steps], seed, None, None, tf.int64)
        own = tf.gather(keys, self._own)
        chosen = tf.cast(tf.argsort(own, axis=1, stable=True), tf.int64)
        first = tf.range(tf.constant(self.places, tf.int64)) * steps
        # By gathering: where oneDNN cannot transpose int64, tf.transpose complains on stderr.
        place = tf.range(steps)[:, None] + first
        return tf.gather(tf.reshape(chosen + first[:, None], [-1]), tf.reshape(place, [-1]))

    def _seed(self, epoch: tf.Tensor, purpose: int | tf.Tensor) -> tf.Tensor:
        return derived_seed(self._order.seed, epoch, tf.cast(purpose, tf.int64))


def permuted_chunk(slot: tf.Tensor, chunks: int, seed: tf.Tensor) -> tf.Tensor:
    """Which of `chunks` chunks lies at `slot`, int64, of an epoch's line."""
    # index_shuffle knows only 256 permutations of seeds that differ in their last bits alone
    mixed = tf.random.stateless_uniform([2], seed, None, None, tf.int64)
    last = tf.constant(chunks - 1, tf.int64)
    return tf.random.experimental.index_shuffle(slot, mixed, last)


def _read(piece: dict[str, tf.Tensor]) -> tf.data.Dataset:
    """The serialized records of a piece, checksums checked."""
    offset = tf.data.FixedLengthRecordDataset(
        piece["index"], OFFSET_BYTES, header_bytes=piece["first"] * OFFSET_BYTES
    ).take(1)

    def records(raw: tf.Tensor) -> tf.data.Dataset:
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=[piece["path"]],
            compression_type="",
            buffer_size=tf.constant(1 << 20, tf.int64),
            byte_offsets=tf.io.decode_raw(raw, tf.int64),
        )
        found = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
        return whole_range(found, piece["path"], piece["count"])

    return offset.flat_map(records)
