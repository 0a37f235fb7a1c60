"""Options of `build_dataset`; its help and its YAML files are made from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from beam_jobs.engines.engine_options import EngineOptions


@dataclass(kw_only=True)
class CorpusOptions(EngineOptions):
    """Turn folders of images into a dataset folder for training."""

    COMMON: ClassVar[tuple[str, ...]] = (
        "input",
        "output",
        "splits",
        "max_rejected",
        "max_size",
        "class_names",
        "exclude",
        "runner",
        "workers",
    )

    input: list[str]
    """Where the images are, several times and mixed: a folder with CLASS/any/depth/image.jpg; a tar
    file, read in place (class folders, class tars in a tar, or WebDataset with .cls or .json); a
    .csv, .tsv or .jsonl table with path, label and optionally split and key; a pattern such as
    'shards/*.tar'; or a gs:// or s3:// URL of these."""
    output: str
    """Dataset folder to write. A job that was stopped goes on from what is there."""
    splits: str = "train:0.9,validation:0.1"
    """Splits and their shares. A stable hash of an image's key decides where it goes."""
    max_rejected: float = 0.01
    """Share of bad images, from 0 to 1, above which the job fails."""
    label_from: Literal["auto", "archive"] = "auto"
    """Labels of images in tar files. auto: the label member beside the image, the class tar within
    the tar, or the first folder inside it; archive: the name of the tar file, as for ImageNet's
    class tars once they are taken out of their own."""
    class_names: str | None = None
    """File with a line LABEL NAME for each class, such as ImageNet's synset list. It gives classes
    their names, their order and their number; a label that it lacks is an error."""
    multi_label: bool = False
    """Images have any number of labels: the feature `label` becomes a sequence."""
    exclude: str | None = None
    """File of keys to leave out, one a line, as find_duplicates writes it. A line that begins with
    a quotation mark is a JSON string, for keys with line breaks."""
    max_size: int | None = None
    """Scale larger images down until their shorter side has this many pixels; null: never."""
    min_size: int = 1
    """Reject images whose shorter side has fewer pixels."""
    max_pixels: int = 100_000_000
    """Reject images with more pixels by their header, before decoding: decompression bombs."""
    window: tuple[float, float] | None = None
    """Values that become black and white in gray images of 16 or 32 bits or floats, such as 0 4095;
    null: 0 and 65535, and TIFFs of signed, 32-bit or float values are rejected. The dataset holds
    8 bits. Images for `classify` or a server must be windowed alike beforehand."""
    quality: int = 95
    """JPEG quality, 1 to 100, of images that must be encoded anew. Clean ones keep their bytes."""
    image_timeout: float = 30.0
    """Seconds that decoding one image may take."""
    on_duplicate_key: Literal["error", "drop", "rename"] = "error"
    """Two images with the same path below their inputs: fail, keep the first, or number them
    (key, key#1, key#2; a key that ends like that already gets #0)."""
    shard_size: int = 128
    """Size of a shard to aim at, in MB of images as they are stored in the corpus."""
    shards: int | None = None
    """Number of shards of each split, instead of --shard_size."""
    columns: str | None = None
    """Names of a table's columns where they are others: image=photo,label=class,split=part,key=id.
    The image is a path or a URL; in Parquet also bytes, or a struct of bytes and path."""
    separator: str | None = None
    """Between the cells of a .csv table: one character, or tab; null: a comma."""
    encoding: str = "utf-8"
    """Of .csv, .tsv and .jsonl tables, as Python calls it, such as latin-1 or utf-16."""
    keep: list[str] = field(default_factory=list)
    """Fields to keep as further features: columns of tables, fields of WebDataset's .json members,
    and txt, what its .txt members say. Text, numbers, lists of these, rows of numbers (boxes)."""
    connections: int = 16
    """Downloads of a worker at once, where images are http:// or https:// URLs."""
    host_connections: int = 4
    """Of these, to one host. A host is asked by all workers: divide what it allows by --workers."""
    retries: int = 3
    """How often a download is tried again after a fault that may pass."""
    download_timeout: float = 30.0
    """Seconds that one try of a download may take."""
    update: bool = False
    """Bring a complete dataset folder up to date: list the input again, and write those shards
    again that have new, changed or vanished images. Options that choose images and their labels,
    such as --input and --exclude, may be other ones. Its splits keep their number of shards, unless
    that is wrong by more than a factor of two."""
    rewrite: list[str] = field(default_factory=list)
    """Shards to write again whatever they hold, such as train-00001-of-00016, as verify_dataset
    names them; or all. Means --update."""
    retry_rejected: bool = False
    """Do those shards again that have rejected images, also in a complete dataset folder."""
