"""The notebook runs from top to bottom, learns, and has the outputs that the site shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from fences import ROOT

pytest.importorskip("nbclient", reason="the extra docs runs the notebook")
pytest.importorskip("ipykernel", reason="the extra docs runs the notebook")
sys.path.insert(0, str(ROOT / "docs"))

import nbformat
from run_notebook import run

NOTEBOOK = ROOT / "docs" / "notebooks" / "first_model.ipynb"


def kinds(notebook: nbformat.NotebookNode) -> list[list[list[str]]]:
    """Of each cell of code, the kinds of each of its outputs."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[sorted(out.get("data", ["text"])) for out in cell.outputs] for cell in cells]


def accuracy(notebook: nbformat.NotebookNode) -> float:
    """The accuracy on the test digits that the notebook prints, in percent."""
    texts = [
        out.text for cell in notebook.cells for out in cell.get("outputs", []) if "text" in out
    ]
    found = re.search(r"([\d.]+) % of 450 test digits", "".join(texts))
    assert found
    return float(found[1])


def test_it_runs_and_shows_what_the_site_shows(tmp_path: Path) -> None:
    fresh, stored = run(NOTEBOOK, str(tmp_path)), nbformat.read(NOTEBOOK, as_version=4)
    assert kinds(fresh) == kinds(stored)
    assert sum("image/png" in kind for cell in kinds(stored) for kind in cell) == 3
    assert min(accuracy(fresh), accuracy(stored)) > 90
