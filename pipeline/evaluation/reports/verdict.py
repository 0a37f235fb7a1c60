"""The result of a transfer evaluation in words."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluation.reports.score_table import shown_name
from pipeline.evaluation.reports.transfer_result import (
    MEAN_AVERAGE_PRECISION,
    Contrast,
    ProtocolResult,
)

BASELINES = {"untrained": "the untrained model"}
"""Those that are called otherwise in a sentence."""
ADVISED = "hf://timm/vit_small_patch16_224.augreg_in21k"


def verdict(
    protocols: dict[str, ProtocolResult], contrasts: Sequence[Contrast], tested_on: str
) -> str:
    """Which protocol is best, at which accuracy, and whether that is above the baselines.

    Args:
        protocols: by name, at least one.
        contrasts: the model against its baselines.
        tested_on: the images that accuracies are of, such as "1,000 test images".
    """
    ranked = sorted(protocols, key=lambda name: -protocols[name].last.mean)
    best = ranked[0]
    share = f"{100 * protocols[best].last.mean:.1f} %"
    found = f"{share} of {tested_on} are right"
    if protocols[best].metric == MEAN_AVERAGE_PRECISION:
        found = f"{MEAN_AVERAGE_PRECISION} {share} on {tested_on}"
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


def advice(contrasts: Sequence[Contrast], source: str) -> str | None:
    """What to do where the model is no better than a baseline; None: it is better than all.

    Args:
        contrasts: the model against its baselines.
        source: the dataset that was evaluated on.
    """
    protocol = contrasts[-1].protocol if contrasts else None  # the most thorough one
    no_better = [
        BASELINES.get(one.baseline, shown_name(one.baseline))
        for one in contrasts
        if one.protocol == protocol and not (one.is_significant and one.difference > 0)
    ]
    if not no_better:
        return None
    return (
        f"for these images the model's features are no better than {' and '.join(no_better)}. "
        "Where it was trained on few images, begin with a model that was trained on many: python "
        f"-m pipeline.finetune --model {ADVISED} --data.source {source} --output MODEL"
    )


def _against(contrast: Contrast) -> str:
    name = BASELINES.get(contrast.baseline, shown_name(contrast.baseline))
    points = 100 * contrast.difference
    if not contrast.is_significant:
        return f"not distinguishable from {name}"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'} {name}"
