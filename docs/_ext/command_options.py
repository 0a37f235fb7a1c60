"""The directive `command-options`: every option of a command, from the command's own table.

```{command-options} pretrain
```
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import vit_command
from groundwork.options import Option, options_of


class CommandOptions(SphinxDirective):
    """Name, type, default and meaning of each option, as a definition list."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {"added": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Make the description and the list."""
        config = config_class(self.arguments[0])
        options = [option for option in options_of(config) if not option.group]
        if "added" in self.options:
            added = inspect.get_annotations(config)
            options = [option for option in options if option.name in added]
        described = paragraph(" ".join((inspect.getdoc(config) or "").split()))
        return [described, nodes.definition_list("", *map(entry, options))]


def config_class(command: str) -> type:
    """The dataclass of a command's options, by the command's name or as `module:Class`."""
    path = command if ":" in command else vit_command.COMMANDS[command][1]
    module, _, name = path.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def entry(option: Option) -> nodes.definition_list_item:
    """One option."""
    kind = "" if option.is_flag else f" {option.describe_type()}"
    text = option.help
    if option.default is None:
        text += " Required."
    elif option.default and option.default != "False":
        text += f" Default: `{option.default}`."
    term = nodes.term("", "", nodes.literal("", f"--{option.name}"), nodes.Text(kind))
    return nodes.definition_list_item("", term, nodes.definition("", paragraph(text)))


def paragraph(text: str) -> nodes.paragraph:
    """Text whose parts in backticks are literal."""
    parts = text.split("`")
    kinds = (nodes.Text, lambda part: nodes.literal("", part))
    return nodes.paragraph("", "", *(kinds[i % 2](part) for i, part in enumerate(parts) if part))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-options", CommandOptions)
    return {"parallel_read_safe": True}
