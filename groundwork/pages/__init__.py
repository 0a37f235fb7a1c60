"""Self-contained HTML pages: callers give data, and never HTML.

A `Page` has a headline that says the result in words, and sections of parts: `Cards`, `Table`,
`Bars`, `Gallery`, `Figure`, `Text`, `Code`, `Fold` and `Row`. `render` makes one file of it, which
needs nothing else and no network: it can be mailed, and opened anywhere.
"""

from groundwork.pages.bars import Bar, Bars
from groundwork.pages.gallery import Gallery, Picture, Score, Tile
from groundwork.pages.page import Card, Cards, Code, Figure, Fold, Page, Part, Row, Section, Text
from groundwork.pages.render import render, write
from groundwork.pages.table import Cell, Column, Number, Table

__all__ = [
    "Bar",
    "Bars",
    "Card",
    "Cards",
    "Cell",
    "Code",
    "Column",
    "Figure",
    "Fold",
    "Gallery",
    "Number",
    "Page",
    "Part",
    "Picture",
    "Row",
    "Score",
    "Section",
    "Table",
    "Text",
    "Tile",
    "render",
    "write",
]
