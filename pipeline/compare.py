"""Put transfer reports side by side: `python -m pipeline.compare REPORT REPORT ...`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from groundwork import command_line, storage
from groundwork.errors import UserError, one_line

PROG = "python -m pipeline.compare"


@dataclass
class CompareConfig:
    """Compare transfer reports: accuracies with 95 % confidence intervals, and paired differences
    with exact tests where the test images are the same."""

    POSITIONAL: ClassVar[str] = "reports"

    reports: list[str]
    """Report folders that `python -m pipeline.transfer` wrote."""
    output: str | None = None
    """File to write the comparison to, too: Markdown (.md) or a page (.html)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = command_line.parse(CompareConfig, argv, prog=PROG)
    if not options.reports:
        raise UserError("name at least one report folder")
    if options.output and not options.output.endswith((".md", ".html")):
        raise UserError(f"output {options.output}: name a file that ends in .md or .html")
    from pipeline.evaluation.reports.comparison import compare, comparison_text

    comparison = compare(options.reports)
    text = comparison_text(comparison)
    print(text)
    if options.output:
        if options.output.endswith(".html"):
            from groundwork import pages
            from pipeline.evaluation.reports.comparison_page import comparison_page

            text = pages.render(comparison_page(comparison))
        try:
            storage.write_text(options.output, text)
        except OSError as error:
            raise UserError(
                f"output {options.output} cannot be written ({one_line(error)}): name another file"
            ) from error
    return 0


if __name__ == "__main__":
    command_line.run_main(main)
