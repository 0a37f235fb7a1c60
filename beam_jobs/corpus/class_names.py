"""A file that gives classes their names and their order, such as ImageNet's synset list."""

from __future__ import annotations

from collections import Counter

from beam_jobs.corpus.entries import class_name
from groundwork import storage
from groundwork.errors import UserError


def read(path: str) -> dict[str, str]:
    """Read `n01440764 tench, Tinca tinca` lines: label as in the corpus, then its name.

    Returns:
        Name by label, in the order of the file, which is the order of the labels' numbers. A line
        without a name keeps the label. A name that several labels share is told apart by the label.

    Raises:
        UserError: the file cannot be read, is empty, or names a label twice.
    """
    try:
        lines = storage.read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read --class_names {path}: {error}") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        label, _, name = line.strip().partition("\t" if "\t" in line else " ")
        if not label:
            continue
        if label in names:
            raise UserError(f"--class_names {path} line {number}: {label} stands there twice")
        names[label] = class_name(name.strip() or label)
    if not names:
        raise UserError(f"--class_names {path} is empty: give one class a line, LABEL NAME")
    shared = {name for name, count in Counter(names.values()).items() if count > 1}
    return {label: f"{name} ({label})" if name in shared else name for label, name in names.items()}
