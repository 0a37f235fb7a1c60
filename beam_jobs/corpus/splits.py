"""Which split and which shard an image belongs to, and its place there: by a hash of its key.

So the answer for one image never depends on the others, on their order or on who asks, and the
order of a split is a random one, the same each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from groundwork.errors import UserError

_HASH_BITS = 64
FOLDERS = "folders"
"""Value of --splits: the first folder level names the split."""


def key_hash(key: str, purpose: str = "order") -> int:
    """A number from 0 to 2^64 − 1; hashes for different purposes are independent."""
    digest = hashlib.blake2b(key.encode(), digest_size=_HASH_BITS // 8, person=purpose.encode())
    return int.from_bytes(digest.digest(), "big")


def split_of(key: str, splits: Mapping[str, float]) -> str:
    """The split of an image.

    Args:
        key: of the image.
        splits: share of each split; the shares add up to 1. Where splits are only appended and the
            first one shrinks, images move out of it and nowhere else.
    """
    point = key_hash(key, "split") / 2**_HASH_BITS
    upper = 0.0
    for name, share in splits.items():
        upper += share
        if point < upper:
            return name
    return list(splits)[-1]  # the shares' sum may fall short of 1 by a rounding error


def shard_of(key: str, count: int) -> int:
    """The shard of an image among the `count` shards of its split."""
    return key_hash(key, "shard") * count >> _HASH_BITS


def parse(text: str) -> dict[str, float]:
    """Read `train:0.9,validation:0.1`; with `folders` what lies in no split's folder is for train.

    Raises:
        UserError: not of that form, a share not in (0, 1], a split named twice, or a sum that is
            not 1.
    """
    splits: dict[str, float] = {"train": 1.0} if text == FOLDERS else {}
    for part in text.split(",") if text != FOLDERS else []:
        name, _, share = part.strip().partition(":")
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        if not name.isidentifier() or not name.isascii() or not 0 < value <= 1:
            raise UserError(f"--splits {text}: {part!r} is not NAME:SHARE, as in train:0.9")
        if name in splits:
            raise UserError(f"--splits {text} names {name} twice")
        splits[name] = value
    if abs(sum(splits.values()) - 1) > 1e-6:
        raise UserError(f"--splits {text}: the shares add up to {sum(splits.values()):g}, not to 1")
    return splits
