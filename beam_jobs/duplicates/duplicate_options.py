"""Options of `find_duplicates`; its help and its YAML files are made from them."""

from __future__ import annotations

from dataclasses import dataclass, field

from beam_jobs.engines.engine_options import EngineOptions

HASH_DISTANCE = 60
FEATURE_DISTANCE = 200
"""Of 1024: an angle of 35 degrees between features that are centered and scaled."""


@dataclass(kw_only=True)
class DuplicateOptions(EngineOptions):
    """Find near-duplicate images by a perceptual hash: re-encoded, resized, brightened, cropped."""

    input: str
    """Dataset folder to find duplicates in."""
    output: str
    """Folder for pairs.jsonl, exclude.txt and index.html."""
    against: list[str] = field(default_factory=list)
    """Dataset folders, such as test sets, whose images must not occur in --input. None: --input is
    compared with itself, and all but one image of each group of duplicates are to be excluded."""
    max_distance: int | None = None
    """Bits in which the hashes of duplicates may differ; null: 60 of 256 (unrelated photographs
    differ in 85 or more, nearly always), with --features 200 of 1024."""
    features: str | None = None
    """Folder of an exported model: compare by what it sees, instead of by a perceptual hash. Finds
    stronger crops, rotations and text laid over, and takes as long as extract_features."""
    batch_size: int = 64
    """Images given to the model of --features at once, at most."""
    crops: bool = True
    """Also find copies that lack 5 or 10 % at their edges, are turned by 3 degrees, or have text
    laid over their upper or lower fifth."""
    mirrored: bool = False
    """Also find copies that are mirrored left to right."""
    show: int = 200
    """Pairs in index.html, the least alike first, since that is where mistakes are."""

    @property
    def distance(self) -> int:
        """Bits in which the hashes of duplicates may differ."""
        if self.max_distance is not None:
            return self.max_distance
        return FEATURE_DISTANCE if self.features else HASH_DISTANCE
