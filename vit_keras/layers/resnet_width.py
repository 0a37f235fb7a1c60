"""Channels of a ResNet that is wider or narrower than the named ones."""

from __future__ import annotations

BASE_CHANNELS = 64  # of the root and of the first stage, at a width factor of 1
GROUPS = 32  # of group norm, which every layer of a ResNet here has


def scaled_channels(width_factor: float) -> int:
    """Channels of the root and of the first stage's units.

    Raises:
        ValueError: not a positive multiple of 32, as group norm needs.
    """
    channels = BASE_CHANNELS * width_factor
    if channels < GROUPS or channels % GROUPS:
        nearest = max(1, round(channels / GROUPS)) * GROUPS / BASE_CHANNELS
        raise ValueError(
            f"a width factor of {width_factor} makes {channels:g} channels, no multiple of the "
            f"{GROUPS} groups of group norm; nearest: {nearest:g}."
        )
    return int(channels)
