"""Put transfer reports side by side: `python -m pipeline.compare REPORT REPORT ...`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jsonargparse

from pipeline import cli
from groundwork.errors import UserError, one_line

PROG = "python -m pipeline.compare"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parse(argv)
    from pipeline.evaluation.comparison import compare_reports

    text = compare_reports(options.reports)
    print(text)
    if options.output:
        Path(options.output).write_text(text, encoding="utf-8")
    return 0


def _parse(argv: Sequence[str] | None) -> jsonargparse.Namespace:
    parser = jsonargparse.ArgumentParser(
        prog=PROG,
        description="Compare transfer reports: accuracies with 95 % confidence intervals, and "
        "paired differences where the test images are the same.",
        exit_on_error=False,
    )
    parser.add_argument("reports", nargs="+", help="report folders of python -m pipeline.transfer")
    parser.add_argument("--output", help="Markdown file to write the tables to, too")
    try:
        return parser.parse_args(argv)
    except jsonargparse.ArgumentError as error:
        raise UserError(f"{one_line(error, None)} (see {PROG} --help)") from error


if __name__ == "__main__":
    cli.run_main(main)
