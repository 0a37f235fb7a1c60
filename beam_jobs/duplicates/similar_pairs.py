"""Find the pairs of similar hashes among many, without comparing all with all.

Locality-sensitive hashing by bit sampling (Indyk and Motwani, 1998): each of several tables looks
at its own random choice of bits; two hashes are compared only where they agree in all bits of a
table. Of pairs that differ in 6 of the 64 sampled bits, 16 tables of 16 bits find 97 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

_TABLES = 16
_MIN_BITS = 16
_SAMPLED_SIDE = 8
"""Bits are sampled from the lowest 8×8 frequencies, which change least."""
_BUCKET = 64
"""Hashes that one hash is compared with in one table, at most. So many agree only where a corpus
has crowds of equal images, such as blank pages; those are still all joined into one group."""
_CHUNK = 1 << 16
_POPCOUNT = np.array([bin(value).count("1") for value in range(256)], np.uint8)


def similar_pairs(
    queries: np.ndarray, indexed: np.ndarray, max_distance: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs of a query and an indexed image whose hashes differ in few bits.

    Args:
        queries: packed hashes, uint8 `[queries, 32]`.
        indexed: packed hashes of all variants, uint8 `[images, variants, 32]`.
        max_distance: bits that may differ, of 256.

    Returns:
        Query number, image number and distance of each pair, each int64 `[pairs]`, each pair once
        with its smallest distance. Time grows with n log n.
    """
    images, variants = indexed.shape[:2]
    flat = indexed.reshape(images * variants, -1)
    found = [np.zeros((3, 0), np.int64)]
    for bits in _tables(len(flat)):
        order, first, count = _matches(_keys(queries, bits), _keys(flat, bits))
        for query, place in _candidates(first, count):
            entry = order[place]
            distance = _distance(queries[query], flat[entry])
            near = distance <= max_distance
            found.append(np.stack((query, entry // variants, distance))[:, near])
        found = [_each_once(np.concatenate(found, axis=1))]
    one, other, distances = found[0]
    return one, other, distances


def _each_once(pairs: np.ndarray) -> np.ndarray:
    """Rows (query, image, distance) in order, each pair once with its smallest distance."""
    pairs = pairs[:, np.lexsort((pairs[2], pairs[1], pairs[0]))]
    same = (pairs[:2, 1:] == pairs[:2, :-1]).all(axis=0)
    kept: np.ndarray = pairs[:, np.concatenate(([True], ~same))[: pairs.shape[1]]]
    return kept


def _tables(size: int) -> Iterator[np.ndarray]:
    """The bits that each table looks at; more of them in a larger corpus, so that buckets stay
    small."""
    side = 16
    low = [row * side + column for row in range(_SAMPLED_SIDE) for column in range(_SAMPLED_SIDE)]
    bits = min(32, max(_MIN_BITS, math.ceil(math.log2(max(size, 1)))))
    rng = np.random.default_rng(0)
    for _ in range(_TABLES):
        # without the first, which tells dark images from bright ones and is nearly always the same
        yield rng.choice(low[1:], bits, replace=False)


def _keys(packed: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The chosen bits of each hash as a number, uint64 `[hashes]`."""
    keys = np.zeros(len(packed), np.uint64)
    for bit in bits.tolist():
        value = (packed[:, bit // 8] >> (7 - bit % 8)) & 1
        keys = (keys << np.uint64(1)) | value.astype(np.uint64)
    return keys


def _matches(queries: np.ndarray, indexed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each query: where the equal keys begin in `order`, and how many there are."""
    order = np.argsort(indexed, kind="stable")
    ordered = indexed[order]
    first = np.searchsorted(ordered, queries, "left")
    count = np.searchsorted(ordered, queries, "right") - first
    return order, first, count


def _candidates(first: np.ndarray, count: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    distance: np.ndarray = _POPCOUNT[one ^ other].sum(axis=1, dtype=np.int64)
    return distance
