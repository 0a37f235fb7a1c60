"""Scores as tables that read well in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluation.protocols.scores import ExtraScore, Score
from pipeline.evaluation.reports.transfer_result import (
    ACCURACY,
    MEAN_AVERAGE_PRECISION,
    ProtocolResult,
)

NAMES = {
    "model_paper": "model, the paper's L2 of 1024",
    "untrained": "untrained model",
    "raw_pixels": "raw pixels",
}


def shown_name(learner: str) -> str:
    """What reports call a learner."""
    return NAMES.get(learner, learner.replace("_", " "))


def score_rows(protocol: ProtocolResult) -> list[list[str]]:
    """Scores of one protocol as rows of a table, the first its head."""
    rows = [[f"{protocol.metric}, %", *protocol.columns("model")]]
    rows += [
        [shown_name(learner), *map(percent, protocol.columns(learner).values())]
        for learner in protocol.scores
    ]
    return rows


def percent(score: Score | ExtraScore) -> str:
    """A score such as "92.3 ± 0.4"; without deviation where there was one run."""
    text = f"{100 * score.mean:.1f}"
    return text + (f" ± {100 * score.std:.1f}" if len(score.accuracies) > 1 else "")


def chosen_rows(protocols: Sequence[ProtocolResult]) -> list[list[str]]:
    """What each protocol has chosen for the model and what that reached, as rows of a table."""
    rows = [["protocol", "setting", "chosen"]]
    for protocol in protocols:
        for setting, score in protocol.model.items():
            if score.chosen:
                chosen = ", ".join(_chosen(name, value) for name, value in score.chosen.items())
                rows.append([protocol.heading, setting, chosen])
    return rows


def _chosen(name: str, value: float) -> str:
    return f"{name} {100 * value:.1f} %" if _is_share(name) else f"{name} {value:g}"


def _is_share(name: str) -> bool:
    return ACCURACY in name or MEAN_AVERAGE_PRECISION in name


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first row is its head and whose columns are aligned."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(_pad(cell, width, i) for i, (cell, width) in enumerate(cells)) + " |"
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    rule = "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]]) + "\n"


def _pad(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)
