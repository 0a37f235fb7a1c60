"""The first step of a job: list the images of the input, without reading them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_jobs.corpus import exclude, sources
from beam_jobs.corpus.entries import Entry, pack
from beam_jobs.corpus.passed_over import PassedOver
from beam_jobs.corpus.sources import Reading, Unit
from beam_jobs.engines import metrics, progress
from beam_jobs.engines.metrics import EXCLUDED, LISTED, NAMESPACE
from groundwork.errors import UserError

_BLOCK_IMAGES = 4096
"""Entries that are packed together: the more, the smaller; a worker holds one block at a time."""


class ListUnit(beam.DoFn):
    """Lists the images of one unit of the input, as blocks of packed entries.

    Args:
        classes: class name by label, as `class_names.read` gives it; empty: labels are names.
        exclude: file of keys to leave out, or None.
        reading: how sources are read.
        multi_label: whether an image may have several labels, or none.
    """

    def __init__(
        self,
        classes: dict[str, str],
        exclude: str | None,
        reading: Reading,
        *,
        multi_label: bool,
    ) -> None:
        self._classes = classes
        self._exclude_file = exclude
        self._multi_label = multi_label
        self._reading = reading
        self._listed = Metrics.counter(NAMESPACE, LISTED)
        self._excluded = Metrics.counter(NAMESPACE, EXCLUDED)

    def setup(self) -> None:
        """Read the keys to leave out."""
        self._exclude = exclude.read(self._exclude_file) if self._exclude_file else frozenset()

    def process(self, element: Unit) -> Iterator[bytes]:
        """List one unit."""
        passed_over: Counter[str] = Counter()
        entries = self._entries(element, passed_over)
        while block := list(itertools.islice(entries, _BLOCK_IMAGES)):
            yield pack(block)
        if passed_over:
            yield pack([], passed_over)
        for why, count in passed_over.items():
            Metrics.counter(NAMESPACE, metrics.passed_over(why)).inc(count)

    def _entries(self, unit: Unit, passed_over: Counter[str]) -> Iterator[Entry]:
        for entry in sources.list_unit(unit, self._reading):
            if isinstance(entry, PassedOver):
                passed_over[entry.why.value] += 1
                continue
            if entry.key in self._exclude:
                self._excluded.inc()
                continue
            if len(entry.labels) > 1 and not self._multi_label:
                raise UserError(
                    f"{entry.key} has {len(entry.labels)} labels: give --multi_label true"
                )
            self._listed.inc()
            progress.add(total=1)
            yield entry._replace(labels=tuple(map(self._name, entry.labels)))

    def _name(self, label: str) -> str:
        if not self._classes:
            return label
        try:
            return self._classes[label]
        except KeyError:
            raise UserError(f"class {label} is not in the file of --class_names") from None
