"""Options of `find_duplicates`; its help and its YAML files are made from them."""

from __future__ import annotations

from dataclasses import dataclass, field

from beam_jobs.engines.engine_options import EngineOptions


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
    max_distance: int = 60
    """Bits of 256 in which the hashes of duplicates may differ. Unrelated photographs differ in 85
    or more, nearly always."""
    crops: bool = True
    """Also find copies that lack 5 % at their edges."""
    mirrored: bool = False
    """Also find copies that are mirrored left to right."""
    show: int = 200
    """Pairs in index.html, the least alike first, since that is where mistakes are."""
