"""Write Fashion-MNIST as a dataset folder, from the IDX files that it is published in.

70,000 pictures of clothes, 28×28 pixels in gray (H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a
Novel Image Dataset for Benchmarking Machine Learning Algorithms", arXiv 1708.07747).

    apt-get install dataset-fashion-mnist
    python -m beam_jobs.write_fashion_mnist --output datasets/fashion_mnist
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beam_jobs.corpus import splits
from beam_jobs.dataset import generated_dataset
from beam_jobs.dataset.dataset_folder import Job
from beam_jobs.dataset.example import Example
from beam_jobs.dataset.shards import Shard, shards
from beam_jobs.engines import job_process
from beam_jobs.engines.engine_options import EngineOptions
from groundwork import command_line
from groundwork.errors import UserError

if TYPE_CHECKING:
    import numpy as np

_MODULE = "beam_jobs.write_fashion_mnist"
_PREFIXES = {"train": "train", "test": "t10k"}
_SHARDS = 4
_UNSIGNED_BYTE = 8
"""IDX's code for the type of its numbers."""
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(kw_only=True)
class Options:
    """Write Fashion-MNIST as a dataset folder: grayscale PNG, splits train and test as published.

    The files are read from a folder, nothing is downloaded.
    """

    output: str
    """Dataset folder to write."""
    input: str = "/usr/share/datasets/fashion-mnist"
    """Folder of train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz
    and t10k-labels-idx1-ubyte.gz; the default is where the package dataset-fashion-mnist of Debian
    and Ubuntu has them."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = command_line.parse(Options, argv, prog=f"python -m {_MODULE}")
    files = [
        _file(options.input, split, kind) for split in _PREFIXES for kind in ("images", "labels")
    ]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    total = sum(len(_load(options.input, split)[1]) for split in _PREFIXES)
    generated_dataset.write(
        options.output,
        Job(_MODULE, digests),
        [shard for split in _PREFIXES for shard in shards("fashion_mnist", split, _SHARDS)],
        Pictures(options.input),
        EngineOptions(runner="in_process"),  # seconds of work, not worth starting workers for
        class_names=list(CLASSES),
        description="Fashion-MNIST: pictures of clothes of 28×28 pixels, in gray.",
        total=total,
    )


@dataclass(frozen=True)
class Pictures:
    """The pictures of a shard, in the order of their keys' hashes."""

    folder: str

    def __call__(self, shard: Shard) -> Iterator[Example]:
        """Give those whose key belongs to `shard`."""
        from PIL import Image

        images, labels = _load(self.folder, shard.split)
        keys = {f"{shard.split}/{index:05d}": index for index in range(len(labels))}
        own = [key for key in keys if splits.shard_of(key, shard.count) == shard.index]
        for key in sorted(own, key=splits.key_hash):
            encoded = io.BytesIO()
            Image.fromarray(images[keys[key]]).save(encoded, "PNG")
            yield Example(image=encoded.getvalue(), labels=(int(labels[keys[key]]),), key=key)


def _file(folder: str, split: str, kind: str) -> Path:
    dimensions = {"images": 3, "labels": 1}[kind]
    path = Path(folder) / f"{_PREFIXES[split]}-{kind}-idx{dimensions}-ubyte.gz"
    if not path.is_file():
        raise UserError(
            f"--input {folder} has no {path.name}: install the package dataset-fashion-mnist "
            "(Debian, Ubuntu), or name a folder with the four IDX files"
        )
    return path


@functools.cache
def _load(folder: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 `[count, height, width]`, and labels, uint8 `[count]`, of a split."""
    images, labels = (_read_idx(_file(folder, split, kind)) for kind in ("images", "labels"))
    if len(images) != len(labels) or labels.max() >= len(CLASSES):
        raise UserError(
            f"--input {folder}: {len(images)} images and {len(labels)} labels of {split} do not "
            "belong together: get the files anew"
        )
    return images, labels


def _read_idx(path: Path) -> np.ndarray:
    """An array of unsigned bytes in the IDX format of MNIST."""
    import numpy as np

    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be unpacked ({error}): get it anew") from error
    dimensions = data[3] if len(data) > 3 else 0
    header = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(data[4:header], ">u4").tolist())
    if data[:3] != bytes((0, 0, _UNSIGNED_BYTE)) or len(data) != header + math.prod(shape):
        raise UserError(f"{path} is not an IDX file of unsigned bytes: get it anew")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


if __name__ == "__main__":
    job_process.run_main(_MODULE)
