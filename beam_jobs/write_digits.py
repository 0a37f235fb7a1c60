"""Write the UCI handwritten digits as a dataset folder.

The 1,797 digits of 8×8 pixels that scikit-learn ships: the test part of "Optical Recognition of
Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998.

    python -m beam_jobs.write_digits --output datasets/digits
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from beam_jobs.corpus import splits
from beam_jobs.dataset import generated_dataset
from beam_jobs.dataset.dataset_folder import Job
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.shards import Shard, shards
from beam_jobs.engines import job_process
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line

_MODULE = "beam_jobs.write_digits"
_SPLITS = {"train": 0.5, "test": 0.5}
_SHARDS = 2
_LEVELS = 16
"""A pixel counts the ink, from 0 to 16, of a 4×4 cell of the scanned bitmap."""


@dataclass(kw_only=True)
class Options:
    """Write the 1,797 handwritten digits of scikit-learn (UCI, 8×8 pixels) as a dataset folder.

    Grayscale PNG, bright strokes on dark. The splits train and test hold about half each, chosen by
    a stable hash of the image's key.
    """

    output: str
    """Dataset folder to write."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(Options, argv, prog=f"python -m {_MODULE}")
    job = Job(_MODULE, {})
    todo = [shard for split in _SPLITS for shard in shards("digits", split, _SHARDS)]
    generated_dataset.write(
        options.output,
        job,
        todo,
        digits,
        EngineOptions(runner="in_process"),  # too few images to start workers for
        class_names=[str(digit) for digit in range(10)],
        description="1,797 handwritten digits of 8×8 pixels (UCI, by way of scikit-learn).",
        total=1797,
    )


def digits(shard: Shard) -> Iterator[Example]:
    """The digits of one shard, in the order of their keys' hashes."""
    for key in sorted(_keys_by_shard()[shard], key=splits.key_hash):
        image, label = _load()[key]
        yield Example(image=image, labels=(label,), key=key)


def _key(index: int) -> str:
    return f"uci-digits/{index:04d}"


@functools.cache
def _keys_by_shard() -> dict[Shard, list[str]]:
    """Keys of each shard."""
    by_shard: dict[Shard, list[str]] = {}
    for key in _load():
        split = splits.split_of(key, _SPLITS)
        shard = Shard("digits", split, splits.shard_of(key, _SHARDS), _SHARDS)
        by_shard.setdefault(shard, []).append(key)
    return by_shard


@functools.cache
def _load() -> dict[str, tuple[bytes, int]]:
    """Encoded image and label by key."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.rint(data.images * (255 / _LEVELS)).astype(np.uint8)
    loaded = {}
    for index, (image, label) in enumerate(zip(pixels, data.target, strict=True)):
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "PNG")
        loaded[_key(index)] = (encoded.getvalue(), int(label))
    return loaded


if __name__ == "__main__":
    job_process.run_main(_MODULE)
