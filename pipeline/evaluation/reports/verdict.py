"""The result of a transfer evaluation in words."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluation.reports.score_table import shown_name
from pipeline.evaluation.reports.transfer_result import (
    MEAN_AVERAGE_PRECISION,
    Contrast,
    ProtocolResult,
)


def verdict(
    protocols: dict[str, ProtocolResult], contrasts: Sequence[Contrast], test_examples: int
) -> str:
    """Which protocol is best, at which accuracy, and whether that is above the baselines.

    Args:
        protocols: by name, at least one.
        contrasts: the model against its baselines.
        test_examples: number of test images.
    """
    ranked = sorted(protocols, key=lambda name: -protocols[name].last.mean)
    best = ranked[0]
    share = f"{100 * protocols[best].last.mean:.1f} %"
    found = f"{share} of {test_examples:,} test images are right"
    if protocols[best].metric == MEAN_AVERAGE_PRECISION:
        found = f"{MEAN_AVERAGE_PRECISION} {share} on {test_examples:,} test images"
    text = f"{protocols[best].named_setting()}: {found}"
    compared = next((name for name in ranked if any(one.protocol == name for one in contrasts)), "")
    if not compared:
        return f"{text}."
    found = " and ".join(_against(one) for one in contrasts if one.protocol == compared)
    if compared == best:
        return f"{text}, which is {found}."
    other = protocols[compared]
    return (
        f"{text}. On frozen features, {other.named_setting()} reaches {100 * other.last.mean:.1f} "
        f"%, which is {found}."
    )


def _against(contrast: Contrast) -> str:
    name = {"untrained": "the untrained model"}.get(contrast.baseline)
    name = name or shown_name(contrast.baseline)
    points = 100 * contrast.difference
    if not contrast.is_significant:
        return f"not distinguishable from {name}"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'} {name}"
