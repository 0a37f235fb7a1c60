"""Find the pairs of similar hashes among many, without comparing all with all.

Locality-sensitive hashing by bit sampling (Indyk and Motwani, 1998): each of several tables looks
at its own random choice of bits; two hashes are compared only where they agree in all bits of a
table. Of pairs that differ in 6 of the 64 sampled bits, 16 tables of 16 bits find 97 %.

Hashes that agree have the same key, so a table falls into parts that know nothing of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TABLES = 16
_MIN_BITS = 16
_SAMPLED_SIDE = 8
"""Bits are sampled from the lowest 8×8 frequencies, which change least."""
_BUCKET = 64
"""Hashes that one hash is compared with in one table, at most. So many agree only where a corpus
has crowds of equal images, such as blank pages; those are still all joined into one group."""
_CHUNK = 1 << 16
_POPCOUNT = np.array([bin(value).count("1") for value in range(256)], np.uint8)

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Hashes = NDArray[np.uint8]
"""Packed bits, `[hashes, 32]`, or as many as there are."""


class Entries(NamedTuple):
    """Hashes of images; an image may have several, of its variants."""

    images: Ints
    """Number of the image of each hash, `[hashes]`."""
    hashes: Hashes


def tables(size: int, sampled: Ints | None = None, count: int = TABLES) -> list[Ints]:
    """The bits that each table looks at, `[tables][bits]`.

    There are more of them where there are more hashes, so that buckets stay small.

    Args:
        size: number of hashes.
        sampled: bits to choose from; None: those of the lowest frequencies of a perceptual hash.
        count: number of tables.
    """
    if sampled is None:
        low = np.arange(_SAMPLED_SIDE)
        # without the first, which tells dark images from bright ones and is nearly always the same
        sampled = (16 * low[:, None] + low).ravel()[1:]
    bits = min(32, max(_MIN_BITS, math.ceil(math.log2(max(size, 1)))))
    rng = np.random.default_rng(0)
    return [rng.choice(sampled, bits, replace=False) for _ in range(count)]


def keys(hashes: Hashes, bits: Ints) -> Keys:
    """The chosen bits of each hash as a number, uint64 `[hashes]`."""
    found = np.zeros(len(hashes), np.uint64)
    for bit in bits.tolist():
        value = (hashes[:, bit // 8] >> (7 - bit % 8)) & 1
        found = (found << np.uint64(1)) | value.astype(np.uint64)
    return found


def pairs_in_table(queries: Entries, indexed: Entries, bits: Ints, max_distance: int) -> Ints:
    """Find the pairs of a query and an indexed image that one table shows.

    Args:
        queries: the hashes to look up.
        indexed: the hashes to look among.
        bits: of the table.
        max_distance: bits that may differ.

    Returns:
        int64 `[3, pairs]`: query's image, indexed image, distance; each pair once with its smallest
        distance. Time grows with n log n.
    """
    order, first, count = _matches(keys(queries.hashes, bits), keys(indexed.hashes, bits))
    found = [np.zeros((3, 0), np.int64)]
    for query, place in _candidates(first, count):
        entry = order[place]
        distance = _distance(queries.hashes[query], indexed.hashes[entry])
        near = distance <= max_distance
        rows = (queries.images[query], indexed.images[entry], distance)
        found.append(np.stack(rows)[:, near])
    return each_once(np.concatenate(found, axis=1))


def each_once(pairs: Ints) -> Ints:
    """Rows (one image, other image, distance) in order, each pair once with its least distance."""
    pairs = pairs[:, np.lexsort((pairs[2], pairs[1], pairs[0]))]
    same = (pairs[:2, 1:] == pairs[:2, :-1]).all(axis=0)
    kept: Ints = pairs[:, np.concatenate(([True], ~same))[: pairs.shape[1]]]
    return kept


def _matches(queries: Keys, indexed: Keys) -> tuple[Ints, Ints, Ints]:
    """For each query: where the equal keys begin in `order`, and how many there are."""
    order = np.argsort(indexed, kind="stable")
    ordered = indexed[order]
    first = np.searchsorted(ordered, queries, "left")
    count = np.searchsorted(ordered, queries, "right") - first
    return order, first, count


def _candidates(first: Ints, count: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Chunks of (query, place in the order), at most _BUCKET places for each query, spread."""
    step = np.maximum(1, -(-count // _BUCKET))
    taken = -(-count // step)
    ends = np.cumsum(taken)
    start = 0
    while start < len(taken):
        before = ends[start] - taken[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK, "right")))
        sizes = taken[start:stop]
        query = np.repeat(np.arange(start, stop), sizes)
        within = np.arange(len(query)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield query, first[query] + within * step[query]
        start = stop


def _distance(one: Hashes, other: Hashes) -> Ints:
    distance: Ints = _POPCOUNT[one ^ other].sum(axis=1, dtype=np.int64)
    return distance
