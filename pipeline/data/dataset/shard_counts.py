"""Whether the shards of a dataset hold the records that its description counts.

A shard that a copy cut short, or that is empty, would otherwise be read to its end without a word:
fewer images than the run reports, and another order after a resume.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import takewhile

from groundwork import storage
from groundwork.errors import UserError

FRAME_BYTES = 16
"""Of each record besides its own: length (8), and the CRCs of length and data (4 each)."""
HEAD = struct.Struct("<Q4x")
TAIL_BYTES = 4


def file_sizes(folder: str) -> dict[str, int]:
    """Size in bytes of each file in a folder, local or remote, by name: one listing."""
    files = ((path.rpartition("/"), size) for path, size in storage.files_below(folder))
    here = folder.rstrip("/")
    # what lies deeper comes later, and is not listed
    return {name: size for (_, _, name), size in takewhile(lambda file: file[0][0] == here, files)}


def check_shards(
    paths: Sequence[str], lengths: Sequence[int], num_bytes: int, origin: str, split: str
) -> None:
    """Hold the shards of one split against their counts.

    Where the sizes of all files together are those of the records that the description counts, no
    file is opened. Otherwise the records of each are counted, from frame to frame.

    Args:
        paths: of the shards, local or remote, all in one folder.
        lengths: records that each holds by the description.
        num_bytes: of all records by the description.
        origin: the dataset, as the user named it.
        split: its name.

    Raises:
        UserError: files are missing, or hold other counts; names the first.
    """
    found = file_sizes(paths[0].rpartition("/")[0]) if paths else {}
    sizes = {path: found.get(path.rpartition("/")[2]) for path in paths}
    missing = [path for path, size in sizes.items() if size is None]
    if missing:
        raise UserError(
            f"{len(missing)} files of split {split} are missing from {origin}, the first is "
            f"{missing[0]}: copy or write the dataset again"
        )
    if sum(size or 0 for size in sizes.values()) == num_bytes + FRAME_BYTES * sum(lengths):
        return
    for path, length in zip(paths, lengths, strict=True):
        whole = count_records(path, sizes[path] or 0)
        if whole != length:
            raise UserError(
                f"{path} holds {whole} whole records where the description of {origin} counts "
                f"{length}: copy that file again, or write the dataset again"
            )


def count_records(path: str, size: int) -> int:
    """The whole records of a TFRecord file of `size` bytes, found by their lengths alone."""
    count = position = 0
    with storage.open_binary(path) as file:
        while position + FRAME_BYTES <= size:
            file.seek(position)
            head = file.read(HEAD.size)
            if len(head) < HEAD.size:
                break
            position += HEAD.size + HEAD.unpack(head)[0] + TAIL_BYTES
            if position > size:
                break
            count += 1
    return count
