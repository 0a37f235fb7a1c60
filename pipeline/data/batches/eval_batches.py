"""Batches for evaluation: every image counts exactly once, on any number of hosts."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from pipeline.data.dataset.split import FileRange, Split, read_records


def eval_batches(
    split: Split,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    batch_size: int,
    *,
    num_hosts: int = 1,
    host: int = 0,
    with_keys: bool = False,
) -> tf.data.Dataset:
    """One pass over `split`, in order, in batches of one fixed size.

    The split is cut into `num_hosts` runs of successive examples, whose lengths differ by at most
    one. Padding fills the last batch, and adds whole batches where other hosts have more, so that
    every host yields the same number of batches.

    Args:
        split: what to read.
        preprocess: encoded image, string [], to a tensor of fixed shape.
        batch_size: examples in a batch of this host.
        num_hosts: number of hosts that read the split together.
        host: index of this host, from 0.
        with_keys: whether to give the examples' keys too.

    Returns:
        A dataset of tuples `(images, labels, mask)`, with keys `(images, labels, mask, keys)`:
        `[batch_size, ...]` as `preprocess` gives, int64 `[batch_size]`, float32 `[batch_size]`
        that is 1 for an example and 0 for padding, string `[batch_size]`. In padding all is zero
        or empty.
    """

    first = split.num_examples * host // num_hosts

    def load(index: tf.Tensor, serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        encoded, label = split.parse(serialized)
        label = split.check_label(label, serialized, index)
        example = (preprocess(encoded), label, tf.ones([]))
        return (*example, split.parse_key(serialized)) if with_keys else example

    examples = (
        read_records(host_files(split, num_hosts, host))
        .enumerate(first)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )
    empty = tuple(tf.zeros(spec.shape, spec.dtype) for spec in examples.element_spec)
    padding = tf.data.Dataset.from_tensors(empty).repeat()
    total = num_batches(split.num_examples, batch_size, num_hosts) * batch_size
    batches = examples.concatenate(padding).take(total).batch(batch_size, drop_remainder=True)
    return batches.with_options(no_autoshard()).prefetch(tf.data.AUTOTUNE)


def num_batches(num_examples: int, batch_size: int, num_hosts: int = 1) -> int:
    """Batches that every one of `num_hosts` yields."""
    return math.ceil(math.ceil(num_examples / num_hosts) / batch_size)


def host_files(split: Split, num_hosts: int, host: int) -> tuple[FileRange, ...]:
    """The part of `split.files` that host number `host` of `num_hosts` reads."""
    if not 0 <= host < num_hosts:
        raise ValueError(f"host {host} is not one of {num_hosts} hosts, counted from 0")
    start = split.num_examples * host // num_hosts
    stop = split.num_examples * (host + 1) // num_hosts
    # A split smaller than the number of hosts leaves some with nothing but padding.
    return split.slice(start, stop).files or (split.files[0]._replace(take=0),)


def no_autoshard() -> tf.data.Options:
    """Options that stop tf.distribute from dividing files that we have divided already."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
