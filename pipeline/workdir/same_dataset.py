"""Whether a run that goes on reads what it was begun with, and learns from the same teacher.

Weights know classes by their number alone: with the classes in another order the same weights
would go on, and be exported, under other names.
"""

from __future__ import annotations

from collections.abc import Sequence

from groundwork.errors import UserError
from pipeline.data.dataset.source import Source
from pipeline.training.state.checkpoint_files import checkpoints_in
from pipeline.workdir.workdir import Workdir

NAMED = 3


def check_same_dataset(workdir: Workdir, source: Source) -> None:
    """Compare class names and dataset with those that the run in `workdir` was begun with.

    Where it holds no checkpoint there is nothing that could be mistaken.

    Raises:
        UserError: they differ; names the classes.
    """
    if not checkpoints_in(workdir.checkpoints):
        return
    check_same_classes(workdir, source)
    starts = workdir.load_starts()
    if starts and starts[-1]["dataset"]["fingerprint"] != source.fingerprint:
        raise UserError(
            f"{source.origin} is not the dataset that the run in {workdir.path} was begun with: "
            "its description (features, counts, job) is another. Restore that dataset, or choose "
            f"another workdir; --resume {workdir.path} there goes on from these weights"
        )


def check_same_teacher(workdir: Workdir, fingerprint: str) -> None:
    """Raise a UserError where the run in `workdir` has learned from another teacher so far."""
    starts = workdir.load_starts() if checkpoints_in(workdir.checkpoints) else []
    before = starts[-1].get("teacher") if starts else None
    if before not in (None, fingerprint):
        raise UserError(
            f"distillation.teacher has other weights than the one that the run in {workdir.path} "
            "was begun with: restore that one, or choose another workdir"
        )


def check_same_classes(workdir: Workdir, source: Source) -> None:
    """As `check_same_dataset`, of the class names alone; of a run that kept none, nothing."""
    if not workdir.has_class_names():
        return
    difference = differing_classes(workdir.load_class_names(), source.class_names)
    if difference:
        raise UserError(
            f"{source.origin} has {difference}, compared with the run in {workdir.path}: its "
            "weights would go on under other names. Restore the dataset that it was begun with, or "
            "choose another workdir"
        )


def differing_classes(before: Sequence[str], now: Sequence[str]) -> str:
    """What is different, in words; empty where nothing is."""
    if len(before) != len(now):
        told = f"{len(now)} classes, not {len(before)}"
        changes = {"new": set(now) - set(before), "gone": set(before) - set(now)}
        return told + "".join(
            f", {what}: {_listed(sorted(names))}" for what, names in changes.items() if names
        )
    changed = [
        f"{label} was {old} and is {new}"
        for label, (old, new) in enumerate(zip(before, now, strict=True))
        if old != new
    ]
    if not changed:
        return ""
    order = "its classes in another order" if set(before) == set(now) else "other classes"
    return f"{order} (class {_listed(changed)})"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
