"""The directive `recipe-table`: the recipes of a folder of configs/, from their first lines.

```{recipe-table} imagenet1k
```
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from groundwork.recipes import recipe_folder, recipe_names

COLUMNS = {"Recipe": 34, "Hardware": 18, "Cost": 22, "Result to expect": 26}
FIELD = re.compile(r"([A-Z][a-z]+): +(.*)")
# Said once on the page, for all.
SAID_ONCE = re.compile(r",? at the 27 TFLOP/s a core that.*?not measured\.|Not run here\.?")


class RecipeTable(SphinxDirective):
    """A row for each recipe: name, what it is, hardware, cost, and the result to expect."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        folder = self.arguments[0]
        names = [name for name in recipe_names() if folder == name.rpartition("/")[0]]
        if folder == "top":
            names = [name for name in recipe_names() if "/" not in name]
        if not names:
            raise self.error(f"configs/{folder} holds no recipe")
        for name in names:
            self.env.note_dependency(str(recipe_folder() / f"{name}.yaml"))
        head = nodes.thead("", row(*([text(column)] for column in COLUMNS)))
        body = nodes.tbody("", *(recipe_row(name) for name in names))
        widths = [nodes.colspec("", colwidth=width) for width in COLUMNS.values()]
        group = nodes.tgroup("", *widths, head, body, cols=len(COLUMNS))
        return [nodes.table("", group, classes=["recipes"])]


def recipe_row(name: str) -> nodes.row:
    """A recipe: its name and what it is, its hardware, its cost, and what to expect of it."""
    said = first_lines(recipe_folder() / f"{name}.yaml")
    hardware, _, time = said.get("Hardware", "").partition(" Time: ")
    result = said.get("Expect") or said.get("Result", "")
    heading = nodes.paragraph("", "", nodes.literal("", name))
    others = ([text(part)] for part in (hardware, said.get("Cost", time), result))
    return row([heading, text(said[""])], *others)


def first_lines(path: Path) -> dict[str, str]:
    """The comment that a recipe begins with: its first paragraph under "", and its fields."""
    said: dict[str, str] = {}
    field: str | None = ""
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in itertools.takewhile(lambda line: line.startswith("#"), lines):
        words = line[1:].strip()
        if match := FIELD.fullmatch(words):
            field, words = match[1], match[2]
        elif not words or (field and not line.startswith("#  ")):
            field = None  # what follows, such as the command, belongs to no field
        if field is not None:
            said[field] = f"{said.get(field, '')} {words}"
    return {field: SAID_ONCE.sub("", words).strip() for field, words in said.items()}


def row(*cells: list[nodes.paragraph]) -> nodes.row:
    """A row of the table."""
    return nodes.row("", *(nodes.entry("", *cell) for cell in cells))


def text(words: str) -> nodes.paragraph:
    """Text with what stands in backticks as literal."""
    parts = [
        nodes.literal("", part) if i % 2 else nodes.Text(part)
        for i, part in enumerate(words.split("`"))
    ]
    return nodes.paragraph("", "", *parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("recipe-table", RecipeTable)
    return {"parallel_read_safe": True}
