"""The command that mends a dataset folder: it writes the shards with faults again, no others."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable

from beam_jobs.corpus.corpus_options import CorpusOptions
from beam_jobs.dataset import dataset_folder
from beam_jobs.dataset.shards import Shard
from groundwork import storage

_BUILDER = "beam_jobs.build_dataset"
_NAMED = 20
"""Shards that the command names one by one; of more it writes all again."""


def command(folder: str, shards: Iterable[Shard]) -> str:
    """What to do about faults in these shards, for people; commands can be run as printed."""
    faulty = sorted(set(shards))
    try:
        values = json.loads(storage.read_text(storage.join(folder, dataset_folder.JOB)))
        job, options = str(values["job"]), dict(values["options"])
    except (OSError, ValueError, KeyError, TypeError):
        return "make it again with the program that has written it; no job of this project has"
    if job != _BUILDER:
        removed = [dataset_folder.COMPLETED, *(shard.manifest_name for shard in faulty)]
        files = shlex.join(storage.join(folder, name) for name in removed)
        return f"rm -f {files}, and then again the command that wrote it, python -m {job}"
    words = ["python", "-m", job]
    for field in dataclasses.fields(CorpusOptions):
        value = options.get(field.name)
        default = None if field.default is dataclasses.MISSING else field.default
        if value not in (None, [], default):
            given = value if isinstance(value, list) else [value]
            words += [f"--{field.name}", *map(_word, given)]
    names = [shard.name for shard in faulty] if len(faulty) <= _NAMED else ["all"]
    return shlex.join([*words, "--output", folder, "--rewrite", *names])


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
