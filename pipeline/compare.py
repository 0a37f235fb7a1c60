"""Put transfer reports side by side: `python -m pipeline.compare REPORT REPORT ...`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from groundwork import command_line, storage
from groundwork.errors import UserError

PROG = "python -m pipeline.compare"


@dataclass
class CompareConfig:
    """Compare transfer reports: accuracies with 95 % confidence intervals, and paired differences
    where the test images are the same."""

    POSITIONAL: ClassVar[str] = "reports"

    reports: list[str]
    """Report folders that `python -m pipeline.transfer` wrote."""
    output: str | None = None
    """Markdown file to write the tables to, too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = command_line.parse(CompareConfig, argv, prog=PROG)
    if not options.reports:
        raise UserError("name at least one report folder")
    from pipeline.evaluation.reports.comparison import compare_reports

    text = compare_reports(options.reports)
    print(text)
    if options.output:
        storage.write_text(options.output, text)
    return 0


if __name__ == "__main__":
    command_line.run_main(main)
