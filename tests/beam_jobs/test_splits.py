from collections import Counter

import pytest

from beam_jobs.corpus import splits
from groundwork.errors import UserError

KEYS = [f"class/{number}.jpg" for number in range(20_000)]


def test_shares_are_met():
    found = Counter(splits.split_of(key, {"train": 0.9, "validation": 0.1}) for key in KEYS)
    assert found["validation"] / len(KEYS) == pytest.approx(0.1, abs=0.01)


def test_the_answer_is_the_same_for_ever():
    # datasets in the field depend on these very values
    assert splits.key_hash("class/0.jpg") == 17428546636976325985
    assert splits.split_of("class/7.jpg", {"a": 0.5, "b": 0.5}) == "b"
    assert splits.shard_of("class/7.jpg", 100) == 67


def test_shards_are_even_and_independent_of_the_split():
    train = [key for key in KEYS if splits.split_of(key, {"train": 0.5, "test": 0.5}) == "train"]
    counts = Counter(splits.shard_of(key, 8) for key in train)
    assert len(counts) == 8
    assert max(counts.values()) < 1.15 * min(counts.values())


def test_parse():
    expected = {"train": 0.8, "val": 0.15, "test": 0.05}
    assert splits.parse("train:0.8, val:0.15,test:0.05") == expected


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("train", "'train' is not NAME:SHARE"),
        ("train:0.5,test:0.4", "add up to 0.9"),
        ("train:0.5,train:0.5", "train twice"),
        ("a-b:1", "'a-b:1' is not NAME:SHARE"),
        ("train:0,test:1", "'train:0' is not NAME:SHARE"),
    ],
)
def test_bad_splits_are_named(text, culprit):
    with pytest.raises(UserError, match=culprit):
        splits.parse(text)
