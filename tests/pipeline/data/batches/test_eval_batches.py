"""Every image counts exactly once in evaluation."""

import numpy as np
import pytest
from dataset_folders import encode, write_dataset_folder

from pipeline.data.batches.eval_batches import eval_batches, host_files, num_batches
from pipeline.data.dataset.source import open_source
from pipeline.data.dataset.split import read_records
from pipeline.data.images.preprocess import EvalPreprocess

TOTAL = 11


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    examples = [
        (encode(np.full((2, 2, 3), 10 * i, np.uint8)), i % 3, f"k{i}") for i in range(TOTAL)
    ]
    folder = write_dataset_folder(tmp_path_factory.mktemp("data"), {"test": examples}, "abc", 3)
    return open_source(str(folder)).split("test")


def batches_of(split, batch_size, num_hosts, host):
    batches = eval_batches(
        split, EvalPreprocess((2, 2)), batch_size, num_hosts=num_hosts, host=host, with_keys=True
    )
    return list(batches.as_numpy_iterator())


@pytest.mark.parametrize(("num_hosts", "batch_size"), [(1, 4), (1, 11), (2, 1), (3, 4), (13, 4)])
def test_every_image_once_and_equal_batches_on_any_number_of_hosts(split, num_hosts, batch_size):
    hosts = [batches_of(split, batch_size, num_hosts, host) for host in range(num_hosts)]
    assert {len(batches) for batches in hosts} == {num_batches(TOTAL, batch_size, num_hosts)}
    keys, pixels = [], []
    for images, labels, mask, batch_keys in (batch for batches in hosts for batch in batches):
        assert images.shape == (batch_size, 2, 2, 3)
        real = mask == 1
        assert np.all(mask[~real] == 0) and np.all(images[~real] == 0)
        keys += [key.decode() for key in batch_keys[real]]
        assert [int(key[1:]) % 3 for key in batch_keys[real]] == list(labels[real])
        pixels += list((images[real, 0, 0, 0] + 1) * 127.5)
    assert sorted(keys) == sorted(f"k{i}" for i in range(TOTAL))
    assert [f"k{round(pixel / 10)}" for pixel in pixels] == keys


def test_hosts_together_keep_the_order_of_the_split(split):
    everything = [record.numpy() for record in read_records(split.files)]
    shared = [
        record.numpy() for host in range(4) for record in read_records(host_files(split, 4, host))
    ]
    assert shared == everything


def test_two_passes_are_equal(split):
    first, second = batches_of(split, 4, 1, 0), batches_of(split, 4, 1, 0)
    for one, two in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_host_out_of_range(split):
    with pytest.raises(ValueError, match="host 2 is not one of 2"):
        host_files(split, 2, 2)
