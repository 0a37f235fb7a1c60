"""The order of training records: complete, shuffled, and a function of (seed, epoch) alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from groundwork.errors import UserError
from pipeline.data.batches.seeds import derived_seed
from pipeline.data.batches.train_order import EpochOrder, permuted_chunk
from pipeline.data.dataset.record_index import index_paths, record_offsets
from pipeline.data.dataset.split import FileRange

LENGTHS = [37, 41, 29, 50]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Shards whose records are their own numbers; of the last one, records 2 to 47 are taken."""
    folder = tmp_path_factory.mktemp("shards")
    number, ranges = 0, []
    for shard, length in enumerate(LENGTHS):
        skip = 2 if shard == 3 else 0
        take = length - 2 * skip
        with tf.io.TFRecordWriter(str(folder / f"{shard}")) as writer:
            for position in range(length):
                inside = skip <= position < skip + take
                writer.write(str(number).encode() if inside else b"outside")
                number += inside
        ranges.append(FileRange(str(folder / f"{shard}"), skip, take))
    return ranges


def take(order, count, start_step=0, host=0, num_hosts=1):
    records = order.dataset(start_step, host, num_hosts).take(count)
    return [(int(text), int(epoch), int(n)) for text, epoch, n in records.as_numpy_iterator()]


def order_of(files, **changes):
    settings = {"batch_size": 16, "shuffle_window": 24, "seed": 3} | changes
    return EpochOrder(files, **settings)


def test_each_epoch_has_each_record_at_most_once_and_numbers_them(files):
    order = order_of(files)
    steps = order.steps_per_epoch
    assert steps == sum(file.take for file in files) // 16
    seen = take(order, 3 * steps * 16)
    assert all(int(text) == number for text, _, number in seen)
    for epoch in range(3):
        numbers = [number for _, e, number in seen if e == epoch]
        assert len(numbers) == len(set(numbers)) == steps * 16
    # No record is left out in every epoch.
    assert {number for _, _, number in seen} == set(range(order.num_records))


def test_epochs_and_seeds_differ_and_the_same_seed_repeats(files):
    steps = order_of(files).steps_per_epoch
    first = take(order_of(files), 2 * steps * 16)
    epochs = [[n for _, e, n in first if e == epoch] for epoch in (0, 1)]
    assert epochs[0] != epochs[1]
    assert first == take(order_of(files), 2 * steps * 16)
    assert first != take(order_of(files, seed=4), 2 * steps * 16)


def test_epochs_permute_their_chunks_each_in_its_own_way():
    slots = tf.range(tf.constant(20, tf.int64))
    orders = tf.map_fn(
        lambda epoch: permuted_chunk(slots, 20, derived_seed(3, epoch, tf.zeros_like(epoch))),
        tf.range(tf.constant(600, tf.int64)),
    ).numpy()
    assert (np.sort(orders) == np.arange(20)).all()
    assert len(np.unique(orders, axis=0)) > 590


def test_a_window_shuffles(files):
    numbers = [n for _, _, n in take(order_of(files, shuffle_window=1000), 96)]
    rising = sum(a < b for a, b in itertools.pairwise(numbers))
    assert 30 < rising < 65  # of 95 neighbors; a file read in order would have nearly all


@pytest.mark.parametrize("step", [1, 4, 8, 9, 10, 13])
def test_starting_at_a_step_gives_what_follows_it(files, step):
    order = order_of(files)
    full = take(order, 16 * (step + 6))
    assert take(order, 16 * 6, start_step=step) == full[16 * step :]


@pytest.mark.parametrize("num_hosts", [2, 3, 5])
def test_any_number_of_hosts_shares_the_same_global_batches(files, num_hosts):
    batch = 15 if num_hosts in (3, 5) else 16
    order = order_of(files, batch_size=batch)
    share = batch // num_hosts
    steps = order.steps_per_epoch + 3
    single = take(order, batch * steps)
    hosts = [take(order, share * steps, 0, host, num_hosts) for host in range(num_hosts)]
    together = [
        record
        for step in range(steps)
        for records in hosts
        for record in records[step * share : (step + 1) * share]
    ]
    assert together == single


def test_repeats_give_each_record_several_views_in_its_batch(files):
    """On any number of hosts, from any step on; a batch that 3 does not divide has fewer of one."""
    order = order_of(files, repeats=3)
    steps = order.steps_per_epoch
    assert steps == order_of(files).steps_per_epoch
    single = take(order, 16 * (steps + 2))
    assert all(int(text) == view % order.num_records for text, _, view in single)
    for step in range(steps + 2):
        batch = [view for _, _, view in single[16 * step : 16 * (step + 1)]]
        records = [view % order.num_records for view in batch]
        assert len(set(batch)) == 16 and len(set(records)) == 6
        assert {view // order.num_records for view in batch} == {0, 1, 2}
        assert max(map(records.count, records)) == 3
        assert all(a != b for a, b in zip(records[::2], records[1::2], strict=True))
    assert len({view % order.num_records for _, epoch, view in single if epoch == 0}) == 6 * steps
    assert take(order, 16, start_step=5) == single[16 * 5 : 16 * 6]
    hosts = [take(order, 8 * 3, 0, host, 2) for host in (0, 1)]
    assert [hosts[0][:8], hosts[1][:8], hosts[0][8:16]] == [
        single[:8],
        single[8:16],
        single[16:24],
    ]


def test_256_hosts_share_one_shard_and_resume_onto_another_number(tmp_path):
    shard = tmp_path / "shard"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for number in range(600):
            writer.write(str(number).encode())
    order = order_of([FileRange(str(shard), 0, 600)], batch_size=256, shuffle_window=512)
    single = take(order, 256 * 4)
    for host in (0, 1, 100, 255):
        own = take(order, 2, start_step=2, host=host, num_hosts=256)
        assert own == [single[256 * step + host] for step in (2, 3)]


def test_hosts_that_do_not_divide_the_batch_are_told_what_does(files):
    with pytest.raises(ValueError, match=r"batch_size 16 cannot be shared by 3 hosts: .* 15"):
        order_of(files).dataset(0, 0, 3)


def test_an_index_is_made_once_and_a_cut_shard_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shard = tmp_path / "shard"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for number in range(20):
            writer.write(b"x" * number)
    offsets = record_offsets(str(shard))
    assert len(offsets) == 21 and offsets[-1] == shard.stat().st_size
    assert offsets[2] - offsets[1] == 12 + 1 + 4
    (path,) = index_paths([str(shard)]).values()
    assert index_paths([str(shard)]) == {str(shard): path}
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"shard ends within a record"):
        index_paths([str(shard)])
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    message = r"cannot write .*/file/vit-keras-pipeline/index .*another folder in XDG_CACHE_HOME"
    with pytest.raises(UserError, match=message):
        index_paths([str(shard)])
