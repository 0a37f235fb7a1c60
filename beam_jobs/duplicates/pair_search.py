"""The search for similar images as Beam steps in which no machine holds all hashes.

An image's hashes go, for each table, to the part of the table where its key belongs; only there are
hashes compared. What is grouped is arrays, one for each shard and part, never single hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from beam_jobs.dataset.dataset_reader import Dataset
from beam_jobs.dataset.shards import Shard
from beam_jobs.duplicates import feature_hash, perceptual_hash
from beam_jobs.duplicates.duplicate_options import DuplicateOptions
from beam_jobs.duplicates.duplicate_pairs import Pair, Place
from beam_jobs.duplicates.hash_shard import (
    KEYS,
    Block,
    Hasher,
    HashShard,
    NumberedShard,
    PerceptualHasher,
)
from beam_jobs.duplicates.similar_pairs import Entries, Ints, each_once, pairs_in_table, tables

_PART_BYTES = 32 << 20
"""Of the hashes in a part of a table, about: some 100 MB while it is searched."""
_FEATURE_TABLES = 32
"""Copies are further apart in features than in a perceptual hash, where variants meet them."""


@dataclass(frozen=True)
class Corpus:
    """The images of all datasets of a search, numbered; those of --input come first."""

    shards: tuple[tuple[str, Shard], ...]
    """Dataset folder and shard."""
    starts: Ints
    """Number of the first image of each shard, and behind the last one that of all images."""
    own: int
    """Images of --input."""

    @classmethod
    def of(cls, datasets: Sequence[Dataset]) -> Corpus:
        """The corpus of these datasets, that of --input first."""
        shards = [(dataset.folder, shard) for dataset in datasets for shard in dataset.shards]
        lengths = [d.lengths[shard.split][shard.index] for d in datasets for shard in d.shards]
        starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        return cls(tuple(shards), starts, int(starts[len(datasets[0].shards)]))

    def place(self, image: int, key: str) -> Place:
        """Where an image lies."""
        number = int(_shards_of(np.array([image]), self.starts)[0])
        folder, shard = self.shards[number]
        return Place(folder, shard, image - int(self.starts[number]), key)


def _shards_of(images: Ints, starts: Ints) -> Ints:
    """The place in `Corpus.shards` of the shard of each image."""
    return np.searchsorted(starts, images, "right") - 1


Found = tuple[Ints, dict[int, str]]
"""Pairs, int64 [3, pairs] (image, later image, distance), and keys of images by their number."""


def search(
    pipeline: beam.Pipeline, corpus: Corpus, options: DuplicateOptions
) -> beam.PCollection[Found]:
    """Add the steps of the search; each result has pairs or keys."""
    images = int(corpus.starts[-1])
    hasher: Hasher
    if options.features:
        hashes = images
        of_tables = tables(hashes, feature_hash.sampled_bits(), _FEATURE_TABLES)
        hasher = feature_hash.FeatureHasher(options.features, options.batch_size, corpus.shards)
        hash_bytes = feature_hash.BITS // 8
    else:
        hashes = images * perceptual_hash.variant_count(
            crops=options.crops, mirrored=options.mirrored
        )
        of_tables = tables(hashes)
        hasher = PerceptualHasher(crops=options.crops, mirrored=options.mirrored)
        hash_bytes = perceptual_hash.BITS // 8
    parts = max(1, -(-hashes * hash_bytes // _PART_BYTES))
    hash_shard = HashShard(of_tables, parts, hasher)
    starts = corpus.starts.tolist()
    todo = [
        NumberedShard(number, folder, shard, starts[number], starts[number + 1])
        for number, (folder, shard) in enumerate(corpus.shards)
    ]
    hashed = (
        pipeline
        | "Shards" >> beam.Create(todo)
        | "Spread" >> beam.Reshuffle()
        | "Hash" >> beam.ParDo(hash_shard).with_outputs(KEYS, main="blocks")
    )
    own = corpus.own if options.against else None
    pairs = unique_pairs(hashed["blocks"], of_tables, corpus.starts, own, options.distance)
    of_pairs = pairs | "Images of pairs" >> beam.FlatMap(_images, corpus.starts)
    named = (
        (hashed[KEYS], of_pairs)
        | "Keys and images" >> beam.Flatten()
        | "Of a shard" >> beam.GroupByKey()
        | "Name" >> beam.FlatMap(_name, corpus.starts)
    )
    without_keys = pairs | "Pairs" >> beam.Map(_without_keys)
    found: beam.PCollection[Found] = (without_keys, named) | "Found" >> beam.Flatten()
    return found


def unique_pairs(
    blocks: beam.PCollection[tuple[tuple[int, int], Block]],
    of_tables: Sequence[Ints],
    starts: Ints,
    own: int | None,
    max_distance: int,
) -> beam.PCollection[Ints]:
    """Add the steps from hashes to pairs, int64 `[3, pairs]` for each shard, each pair once.

    Args:
        blocks: the hashes, by table and part.
        of_tables: the bits that each table looks at.
        starts: see `Corpus`.
        own: images of the input, which are compared with the others; None: all with all.
        max_distance: bits that may differ, of 256.
    """
    pairs: beam.PCollection[Ints] = (
        blocks
        | "By part of a table" >> beam.GroupByKey()
        | "Compare" >> beam.FlatMap(_compare, of_tables, starts, own, max_distance)
        | "By shard" >> beam.GroupByKey()
        | "Each once" >> beam.MapTuple(_each_once)
    )
    return pairs


def _compare(
    group: tuple[tuple[int, int], Iterable[Block]],
    of_tables: Sequence[Ints],
    starts: Ints,
    own: int | None,
    max_distance: int,
) -> Iterator[tuple[int, Ints]]:
    """The pairs in a part of a table, by the shard of their first image."""
    (table, _), blocks = group
    images, looked_up, hashes = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    ours = np.ones(len(images), np.bool_) if own is None else images < own
    # either of two images may be the changed copy of the other
    for asked, among in [(ours, ours)] if own is None else [(ours, ~ours), (~ours, ours)]:
        queries = Entries(images[asked & looked_up], hashes[asked & looked_up])
        indexed = Entries(images[among], hashes[among])
        one, other, distance = pairs_in_table(queries, indexed, of_tables[table], max_distance)
        rows = np.stack((np.minimum(one, other), np.maximum(one, other), distance))
        found = each_once(rows[:, one != other])
        shards = _shards_of(found[0], starts)
        for shard in np.unique(shards).tolist():
            yield shard, found[:, shards == shard]


def _each_once(_: int, pairs: Iterable[Ints]) -> Ints:
    return each_once(np.concatenate(list(pairs), axis=1))


def _without_keys(pairs: Ints) -> Found:
    return pairs, {}


def _images(pairs: Ints, starts: Ints) -> Iterator[tuple[int, Ints]]:
    """The images of pairs, by their shard."""
    images = np.unique(pairs[:2])
    shards = _shards_of(images, starts)
    for shard in np.unique(shards).tolist():
        yield shard, images[shards == shard]


def _name(group: tuple[int, Iterable[list[str] | Ints]], starts: Ints) -> Iterator[Found]:
    """The keys of the images of pairs, of one shard."""
    number, values = group
    keys: list[str] = []
    wanted: set[int] = set()
    for value in values:
        if isinstance(value, list):
            keys = value
        else:
            wanted.update(value.tolist())
    if wanted:
        start = int(starts[number])
        yield np.zeros((3, 0), np.int64), {image: keys[image - start] for image in sorted(wanted)}


def gather(found: Iterable[Found], corpus: Corpus, *, against: bool) -> list[Pair]:
    """The pairs, sorted; the second image of each is the one to leave out."""
    arrays = [np.zeros((3, 0), np.int64)]
    keys: dict[int, str] = {}
    for pairs, more_keys in found:
        arrays.append(pairs)
        keys |= more_keys
    gathered = []
    for one, other, distance in np.concatenate(arrays, axis=1).T.tolist():
        # an image of --input has the smaller number
        first, second = (other, one) if against else (one, other)
        places = corpus.place(first, keys[first]), corpus.place(second, keys[second])
        gathered.append(Pair(distance, *places))
    return sorted(gathered)
