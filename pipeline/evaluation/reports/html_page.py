"""A report as one HTML file, pictures inside: it can be mailed and opened anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1f24; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #d0d7de; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
pre { background: #f6f8fa; padding: 1rem; overflow-x: auto; }
"""


def page(title: str, body: Iterable[str]) -> str:
    """An HTML document from parts of its body."""
    parts = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n{parts}\n</html>\n"
    )


def heading(text: str) -> str:
    """A second-level heading."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Text whose line breaks count."""
    return f"<pre>{escape(text)}</pre>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    head, *rest = (
        "".join(f"<{cell}>{escape(c)}</{cell}>" for c in row) for cell, row in _tagged(rows)
    )
    body = "".join(f"<tr>{cells}</tr>\n" for cells in rest)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def picture(path: Path, description: str) -> str:
    """A PNG file, within the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'


def _tagged(rows: Sequence[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    return [("th" if index == 0 else "td", row) for index, row in enumerate(rows)]
