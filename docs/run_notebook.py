"""Run a notebook and keep its outputs: `python docs/run_notebook.py NOTEBOOK`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run(path: Path, folder: str, *, timeout: int = 600) -> nbformat.NotebookNode:
    """The notebook with its outputs; what TensorFlow says on stderr is left out.

    Args:
        path: of the notebook.
        folder: working directory, for the files that it writes.
        timeout: seconds that one cell may take.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": folder}}
    client = NotebookClient(notebook, timeout=timeout, resources=resources, kernel_name="python3")
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = str(path.resolve().parents[2])  # the kernel's folder is another
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    try:
        client.execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    notebook_path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        nbformat.write(run(notebook_path, scratch), notebook_path)
