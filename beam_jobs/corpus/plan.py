"""The plan of a dataset: its classes, and how many shards each split gets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import apache_beam as beam

from beam_jobs.corpus import entries
from beam_jobs.corpus.entries import UNKNOWN_LENGTH
from beam_jobs.corpus.splits import split_of
from beam_jobs.dataset import extra_features
from groundwork import storage
from groundwork.errors import UserError

PLAN = "plan.json"
_SMALL_SHARDS = 16
"""A small split still gets that many shards, so that as many readers and workers can share it…"""
_SMALL_SHARD_IMAGES = 128
"""… unless its shards would then hold fewer images than this."""

_TYPICAL_BYTES = 100_000
"""What an image counts for where its size is known only once it is read."""


@dataclass(frozen=True)
class Plan:
    """What all shards of a dataset have in common."""

    labels: tuple[str, ...]
    """Class names; the place is the label's number."""
    shards: dict[str, int]
    """Number of shards of each split that has images."""
    images: dict[str, int]
    """Images listed for each split."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Files that are taken for no images, by reason."""
    fields: dict[str, str] = field(default_factory=dict)
    """Kind of each further feature, see `extra_features`."""

    def to_json(self) -> str:
        """As it lies in the dataset folder."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder: str) -> Plan:
        """The plan of a dataset folder; raises OSError."""
        values = json.loads(storage.read_text(storage.join(folder, PLAN)))
        return cls(**(values | {"labels": tuple(values["labels"])}))


@dataclass
class Totals:
    """Sums over entries."""

    images: Counter[str] = field(default_factory=Counter)
    """By split."""
    size: Counter[str] = field(default_factory=Counter)
    """Bytes by split."""
    labels: set[str] = field(default_factory=set)
    passed_over: Counter[str] = field(default_factory=Counter)
    """By reason."""
    fields: dict[str, str] = field(default_factory=dict)
    """Kind by name."""

    def add_kind(self, name: str, kind: str, where: str) -> None:
        """Widen the kind of a field; raises UserError where no kind holds both."""
        try:
            self.fields[name] = extra_features.joined(self.fields.get(name, ""), kind)
        except ValueError as error:
            raise UserError(
                f"--keep {name}: {error} ({where}); leave it out, or mend it"
            ) from error


class MakePlan(beam.CombineFn):
    """Adds up the entries of a corpus to its `Plan`.

    Args:
        splits: share of each split.
        shard_bytes: images of a shard together, about.
        shards: number of shards of each split, instead.
        classes: class names in the order of their numbers; empty: those that are found, sorted.
        kept: number of shards of each split of the dataset that is updated.
        keep: names of the further features.
    """

    def __init__(
        self,
        splits: Mapping[str, float],
        shard_bytes: int,
        shards: int | None,
        classes: tuple[str, ...] = (),
        kept: Mapping[str, int] | None = None,
        keep: Sequence[str] = (),
    ) -> None:
        self._keep = tuple(keep)
        self._kept = dict(kept or {})
        self._splits = dict(splits)
        self._shard_bytes = shard_bytes
        self._shards = shards
        self._classes = classes

    def create_accumulator(self) -> Totals:
        """Nothing yet."""
        return Totals()

    def add_input(self, mutable_accumulator: Totals, element: bytes) -> Totals:
        """Count a block of entries."""
        totals = mutable_accumulator
        totals.passed_over.update(entries.passed_over(element))
        for entry in entries.unpack(element):
            split = entry.split or split_of(entry.key, self._splits)
            totals.images[split] += 1
            known = entry.length != UNKNOWN_LENGTH
            totals.size[split] += entry.length if known else _TYPICAL_BYTES
            totals.labels.update(entry.labels)
            for name, value in json.loads(entry.extra or "{}").items():
                try:
                    kind = extra_features.kind_of(value)
                except ValueError as error:
                    raise UserError(f"--keep {name}: {entry.key}: {error}") from error
                totals.add_kind(name, kind, entry.key)
        return totals

    def merge_accumulators(self, accumulators: Iterable[Totals]) -> Totals:
        """Add up counts."""
        totals = Totals()
        for more in accumulators:
            totals.images.update(more.images)
            totals.size.update(more.size)
            totals.labels |= more.labels
            totals.passed_over.update(more.passed_over)
            for name, kind in more.fields.items():
                totals.add_kind(name, kind, "in another part of the input")
        return totals

    def extract_output(self, accumulator: Totals) -> Plan:
        """The plan; splits in the order they were given in."""
        images, size, labels = accumulator.images, accumulator.size, accumulator.labels
        named = [*self._splits, *sorted(set(images) - set(self._splits))]
        present = [split for split in named if images[split]]
        return Plan(
            labels=self._classes or _in_order(labels),
            shards={split: self._count(split, images[split], size[split]) for split in present},
            images={split: images[split] for split in present},
            passed_over=dict(accumulator.passed_over.most_common()),
            # of a field that no image has, nothing says what it holds
            fields={name: accumulator.fields.get(name) or "text" for name in self._keep},
        )

    def _count(self, split: str, images: int, size: int) -> int:
        if self._shards is not None:
            return min(self._shards, images)
        small = min(_SMALL_SHARDS, -(-images // _SMALL_SHARD_IMAGES))
        count = max(small, -(-size // self._shard_bytes))
        kept = self._kept.get(split, 0)
        return kept if kept <= 2 * count and count <= 2 * kept else count


def _in_order(labels: set[str]) -> tuple[str, ...]:
    """Sorted; by value where all are numbers, so that WebDataset's class 10 stands behind 9."""
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))
