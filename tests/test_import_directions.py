"""Data moves forward only: what each folder may import (spec in CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED_OWN = {
    "vit_keras": {"vit_keras"},
    "groundwork": {"groundwork"},
    "beam_jobs": {"beam_jobs", "groundwork"},
    "pipeline": {"pipeline", "vit_keras", "groundwork"},
}
FORBIDDEN = {
    "groundwork": set(),
    "vit_keras": {"tensorflow", "tensorflow_datasets", "apache_beam", "jax", "torch"},
    "beam_jobs": {"keras", "torch", "jax"},
    "pipeline": {"apache_beam"},
}


def imported_modules(path: Path) -> set[str]:
    """Top-level names of all imports in a file, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("folder", sorted(ALLOWED_OWN))
def test_imports_go_forward_only(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    forbidden = (set(ALLOWED_OWN) - ALLOWED_OWN[folder]) | FORBIDDEN[folder]
    for path in files:
        wrong = imported_modules(path) & forbidden
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"
