"""The first step of a job: list the images of the input, without reading them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_jobs.corpus import exclude, sources
from beam_jobs.corpus.entries import Entry, pack
from beam_jobs.corpus.sources import Unit
from beam_jobs.engines import progress
from beam_jobs.engines.metrics import EXCLUDED, LISTED, NAMESPACE
from groundwork.errors import UserError

_BLOCK_IMAGES = 4096
"""Entries that are packed together: the more, the smaller; a worker holds one block at a time."""


class ListUnit(beam.DoFn):
    """Lists the images of one unit of the input, as blocks of packed entries.

    Args:
        classes: class name by label, as `class_names.read` gives it; empty: labels are names.
        exclude: file of keys to leave out, or None.
        multi_label: whether an image may have several labels, or none.
        label_from_archive: tar files are named for the class of what they hold.
    """

    def __init__(
        self,
        classes: dict[str, str],
        exclude: str | None,
        *,
        multi_label: bool,
        label_from_archive: bool,
    ) -> None:
        self._classes = classes
        self._exclude_file = exclude
        self._multi_label = multi_label
        self._label_from_archive = label_from_archive
        self._listed = Metrics.counter(NAMESPACE, LISTED)
        self._excluded = Metrics.counter(NAMESPACE, EXCLUDED)

    def setup(self) -> None:
        """Read the keys to leave out."""
        self._exclude = exclude.read(self._exclude_file) if self._exclude_file else frozenset()

    def process(self, element: Unit) -> Iterator[bytes]:
        """List one unit."""
        entries = self._entries(element)
        while block := list(itertools.islice(entries, _BLOCK_IMAGES)):
            yield pack(block)

    def _entries(self, unit: Unit) -> Iterator[Entry]:
        for entry in sources.list_unit(unit, label_from_archive=self._label_from_archive):
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
