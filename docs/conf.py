"""The site: `make docs` builds it, with warnings as errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the API reference imports TensorFlow

project = "vit-keras-pipeline"
html_title = "Vision Transformers on TensorFlow and Keras"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_options",
    "recipe_table",
    "zoo_table",
]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
smartquotes = False  # options begin with two hyphens
html_theme_options = {"navigation_with_keys": True}
exclude_patterns = ["_build", "_ext"]
templates_path: list[str] = []

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
# The notebook carries its outputs; tests/docs/test_notebook.py runs it.
nb_execution_mode = "off"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types and shapes
napoleon_use_rtype = False
