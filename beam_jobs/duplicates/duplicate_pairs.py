"""What a pair of near-duplicates is."""

from __future__ import annotations

from typing import NamedTuple

from beam_jobs.dataset.shards import Shard


class Place(NamedTuple):
    """Where an image lies."""

    folder: str
    shard: Shard
    number: int
    key: str


class Pair(NamedTuple):
    """Two images that look alike."""

    distance: int
    """Number of bits, of 256, in which their hashes differ."""
    first: Place
    second: Place
    """The one to leave out."""
