"""The page of a transfer evaluation: the verdict, then what it rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from groundwork.pages import (
    Bar,
    Bars,
    Card,
    Cards,
    Code,
    Column,
    Figure,
    Fold,
    Gallery,
    Number,
    Page,
    Part,
    Row,
    Section,
    Table,
    Text,
)
from groundwork.pages.page import Tone
from pipeline.evaluation.protocols.scores import ExtraScore, Score
from pipeline.evaluation.reports.score_table import chosen_rows, percent, shown_name
from pipeline.evaluation.reports.significance import interval, shown_p
from pipeline.evaluation.reports.transfer_result import (
    ACCURACY,
    MODEL,
    Analysis,
    Contrast,
    ProtocolResult,
    TransferResult,
)

CAPTIONS = {
    "accuracy_by_shots": "Few-shot scores; bars show the deviation over draws of the images",
    "confusion": "Confusion matrix",
    "calibration": "Calibration",
    "attention": "Test images with the model's attention rollout; an arrow tells a mistake",
    "errors": "Mistakes with the model's attention rollout",
}
UNBROKEN = "\N{NO-BREAK SPACE}"
INTERVALS = "Lines are 95 % intervals over test images and seeds."
SEED_INTERVALS = "Lines are 95 % intervals over seeds."
BIG_CLASS_TABLE = 20


def transfer_page(
    task_name: str,
    result: TransferResult,
    pictures: Mapping[str, Path],
    mistakes: Gallery | None,
    more: Sequence[Section] = (),
) -> Page:
    """The page.

    Args:
        task_name: the dataset's.
        result: with its analysis.
        pictures: PNG files by name, a key of `CAPTIONS` each.
        mistakes: of the protocol that is looked into.
        more: further sections.
    """
    found = result.analysis
    assert found is not None
    of = f"Of {result.protocols[found.protocol].named_setting()}, first seed."
    figures = {name: _figure(name, path) for name, path in pictures.items()}
    metric = result.protocols[found.protocol].metric
    of_accuracy = metric == ACCURACY
    lead = INTERVALS if of_accuracy else SEED_INTERVALS
    sections = [Section(metric.capitalize(), _accuracy(result, figures), lead=lead)]
    sections.append(Section("Classes", _classes(found, figures), lead=of))
    if mistakes is not None:
        sections.append(Section("Mistakes", [mistakes], lead=of))
    attention: list[Part] = [figures[name] for name in ("attention", "errors") if name in figures]
    if attention:
        sections.append(Section("Attention", attention))
    sections += more
    sections.append(Section("Raw values", [Fold("result.json", [Code(_folded(result))])]))
    return Page(
        kind="Transfer",
        subject=f"{result.model['folder']} on {task_name}",
        headline=result.verdict.replace(" %", f"{UNBROKEN}%"),
        lead=_lead(result),
        sections=sections,
        summary=[_cards(result, found), *(Text(note, tone="bad") for note in result.notes)],
    )


def _lead(result: TransferResult) -> str:
    splits = ", ".join(f"{one.num_examples:,} in {one.name}" for one in result.data.splits.values())
    return f"{len(result.data.class_names):,} classes; images: {splits}."


def _cards(result: TransferResult, found: Analysis) -> Cards:
    cards = [_score_card(one, _counted(one, result)) for one in result.protocols.values()]
    cards.reverse()  # the most thorough protocol first
    f1 = f"{100 * found.macro_f1:.1f} %"
    if found.macro_precision is None or found.macro_recall is None:
        cards.append(Card("Mean best F1", f1, "each class at its best threshold on these images"))
    else:
        precision, recall = 100 * found.macro_precision, 100 * found.macro_recall
        cards.append(Card("Macro F1", f1, f"precision {precision:.1f}, recall {recall:.1f}"))
    if found.expected_calibration_error is not None:
        error = 100 * found.expected_calibration_error
        cards.append(Card("Calibration error", f"{error:.1f} %", "confidence against accuracy"))
    return Cards(cards)


def _counted(protocol: ProtocolResult, result: TransferResult) -> int | None:
    """Test images for the interval of an accuracy; None: the scores are none."""
    return result.data.test.num_examples if protocol.metric == ACCURACY else None


def _score_card(protocol: ProtocolResult, test_examples: int | None) -> Card:
    low, high = interval(protocol.last, test_examples)
    return Card(
        protocol.named_setting(),
        f"{100 * protocol.last.mean:.1f}{UNBROKEN}%",
        f"95 % interval {100 * low:.1f} to {100 * high:.1f}",
    )


def _contrasts(result: TransferResult, contrasts: Sequence[Contrast]) -> Table:
    return Table(
        ["the model against", "by", "points", "p"],
        [
            [
                shown_name(one.baseline),
                result.protocols[one.protocol].named_setting(),
                Number(one.difference, f"{100 * one.difference:+.1f}", _tone(one)),
                Number(one.p_value, shown_p(one.p_value)),
            ]
            for one in reversed(contrasts)
        ],
        caption="Exact tests on the same test images; colored where chance does not explain it.",
    )


def _tone(contrast: Contrast) -> Tone:
    if not contrast.is_significant:
        return "neutral"
    return "good" if contrast.difference > 0 else "bad"


def _accuracy(result: TransferResult, figures: Mapping[str, Figure]) -> list[Part]:
    """Bars at each protocol's last setting, and tables where there is more to say."""
    parts: list[Part] = []
    for protocol in reversed(result.protocols.values()):
        examples = _counted(protocol, result)
        bars = [_bar(protocol, learner, examples) for learner in protocol.scores]
        parts.append(Bars(bars, title=f"{protocol.named_setting()}, %", full=1))
        if len(protocol.columns(MODEL)) > 1:
            parts.append(_score_table(protocol))
    if result.analysis and result.analysis.contrasts:
        parts.append(_contrasts(result, result.analysis.contrasts))
    if "accuracy_by_shots" in figures:
        parts.append(figures["accuracy_by_shots"])
    chosen = chosen_rows(list(result.protocols.values()))
    if len(chosen) > 1:
        parts.append(Table(chosen[0], chosen[1:], caption="Chosen on validation images, or given."))
    return parts


def _bar(protocol: ProtocolResult, learner: str, examples: int | None) -> Bar:
    score = protocol.scores[learner][protocol.last_setting]
    return Bar(
        shown_name(learner),
        [score.mean],
        percent(score),
        interval(score, examples),
        muted=learner != MODEL,
    )


def _score_table(protocol: ProtocolResult) -> Table:
    def cell(score: Score | ExtraScore) -> Number:
        return Number(score.mean, percent(score))

    return Table(
        [protocol.setting or "setting", *protocol.columns(MODEL)],
        [
            [shown_name(learner), *map(cell, protocol.columns(learner).values())]
            for learner in protocol.scores
        ],
        caption=f"{protocol.title}, %.",
    )


def _classes(found: Analysis, figures: Mapping[str, Figure]) -> list[Part]:
    if found.macro_recall is None:
        table = Table(
            ["class", Column("images"), _share("average precision"), Column("best F1", ".1%")],
            [[one.name, one.examples, one.average_precision, one.f1] for one in found.classes],
            shown=BIG_CLASS_TABLE,
        )
        return [table]
    table = Table(
        [
            "class",
            Column("images"),
            _share("recall"),
            Column("precision", ".1%"),
            Column("F1", ".1%"),
            "most often taken for",
        ],
        [
            [one.name, one.examples, one.recall, one.precision, one.f1, one.taken_for or "–"]
            for one in found.classes
        ],
        shown=BIG_CLASS_TABLE,
    )
    plots = [figures[name] for name in ("confusion", "calibration") if name in figures]
    return [table, Row(plots)]


def _share(name: str) -> Column:
    return Column(name, ".1%", bar=True, full=1)


def _figure(name: str, path: Path) -> Figure:
    return Figure(path.read_bytes(), CAPTIONS[name], CAPTIONS[name])


def _folded(result: TransferResult) -> str:
    """result.json but for the classes, which the page has as a table."""
    values = json.loads(result.to_json())
    values["analysis"].pop("classes")
    return json.dumps(values, indent=1, ensure_ascii=False)
