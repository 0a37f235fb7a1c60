"""The directive `zoo-table`: known weights by name, from the table in vit_keras/hub/zoo.py."""

from __future__ import annotations

from docutils import nodes
from recipe_table import row, text
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vit_keras.hub import zoo

COLUMNS = {"Model, trained on": 46, "Parameters": 13, "FLOPs": 10, "ImageNet": 15, "License": 16}


class ZooTable(SphinxDirective):
    """A row for each: line to load it, size, parameters, FLOPs at its input, accuracy, license."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        self.env.note_dependency(zoo.__file__)
        head = nodes.thead("", row(*([text(column)] for column in COLUMNS)))
        body = nodes.tbody("", *map(zoo_row, zoo.ZOO))
        widths = [nodes.colspec("", colwidth=width) for width in COLUMNS.values()]
        group = nodes.tgroup("", *widths, head, body, cols=len(COLUMNS))
        return [nodes.table("", group, classes=["recipes"])]


def zoo_row(model: zoo.Pretrained) -> nodes.row:
    """One model."""
    cost = model.cost
    head = "no head" if model.num_classes is None else f"{model.num_classes:,} classes"
    what = f"{model.variant} at {model.image_size}, {head}: {model.trained_on}"
    accuracy = "" if model.accuracy is None else f"{model.accuracy:.2f} % ({model.source})"
    cells = (
        f"{cost.parameters / 1e6:,.1f} M",
        f"{cost.forward_flops / 1e9:,.1f} G",
        accuracy,
        model.license or "",
    )
    name = nodes.paragraph("", "", nodes.literal("", model.line))
    return row([name, text(what)], *([text(cell)] for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("zoo-table", ZooTable)
    return {"parallel_read_safe": True}
