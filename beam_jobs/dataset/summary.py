"""The table that a job ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from beam_jobs.dataset.shards import Manifest

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def human_bytes(count: float) -> str:
    """`count` bytes with a decimal unit, such as 1.5 MB."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def table(manifests: Sequence[Manifest]) -> str:
    """Images, shards, bytes and rejects of each split, as lines of text."""
    rows: list[tuple[str, ...]] = [("split", "images", "rejected", "shards", "size")]
    splits = sorted({manifest.shard.split for manifest in manifests})
    for split in splits:
        rows.append(_row(split, [m for m in manifests if m.shard.split == split]))
    if len(splits) > 1:
        rows.append(_row("all", list(manifests)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells))
    return "\n".join(lines)


def _row(name: str, manifests: list[Manifest]) -> tuple[str, ...]:
    return (
        name,
        f"{sum(m.records for m in manifests):,}",
        f"{reasons(manifests).total():,}",
        f"{len(manifests):,}",
        human_bytes(sum(m.file_bytes for m in manifests)),
    )


def reasons(manifests: Sequence[Manifest]) -> Counter[str]:
    """How many images were rejected, by reason; a damaged archive's lost ones count too."""
    counts: Counter[str] = Counter()
    for manifest in manifests:
        for reject in manifest.rejected:
            counts[reject["reason"]] += reject.get("images", 1)
    return counts


def counted(counts: Mapping[str, int]) -> str:
    """The largest counts first: 3 × truncated, 1 × empty."""
    return ", ".join(f"{n:,} × {why}" for why, n in Counter(counts).most_common())


def show(
    folder: str,
    manifests: Sequence[Manifest],
    num_classes: int,
    seconds: float,
    passed_over: Mapping[str, int] | None = None,
) -> None:
    """Print what the finished dataset folder holds.

    `passed_over`: files of the corpus that are taken for no images, by reason.
    """
    images = sum(manifest.records for manifest in manifests)
    print(table(manifests))
    if rejected := reasons(manifests):
        print(f"  rejected, as listed in {folder}/rejected.jsonl: {counted(rejected)}")
    if passed_over:
        print(f"  files passed over: {counted(passed_over)}")
    print(f"{folder}: {images:,} images of {num_classes:,} classes, written in {seconds:.1f} s")
