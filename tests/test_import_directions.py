"""Which folder may import which: the one table, and a test that the code keeps to it.

The table is also the documentation of the directions. A folder stands for the modules that lie
directly in it. Files of `pipeline/` and `beam_jobs/` that are commands may import everything below
them, and nothing imports them.
"""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = {
    # package: the packages of this project that it may import
    "groundwork": set(),
    "vit_keras": set(),
    "beam_jobs": {"groundwork"},
    "pipeline": {"groundwork", "vit_keras"},
}
FORBIDDEN = {
    # package: what it may not import from outside
    "groundwork": {"tensorflow", "keras", "apache_beam", "jax", "torch"},
    "vit_keras": {"tensorflow", "tensorflow_datasets", "apache_beam", "jax", "torch"},
    "beam_jobs": {"keras", "torch", "jax"},
    "pipeline": {"apache_beam"},
}
FOLDERS = {
    # folder: the folders of the same package that it may import
    "vit_keras": "layers",
    "vit_keras/layers": "",
    "vit_keras/hub": "vit_keras",
    "vit_keras/weights": "vit_keras hub layers",
    "beam_jobs/corpus": "dataset engines images",
    "beam_jobs/dataset": "engines",
    "beam_jobs/drawing": "",
    "beam_jobs/duplicates": "corpus dataset engines images inspection",
    "beam_jobs/engines": "",
    "beam_jobs/images": "",
    "beam_jobs/inspection": "corpus dataset engines images",
    "groundwork": "",
    "groundwork/pages": "groundwork",
    "pipeline/process": "",
    "pipeline/figures": "",
    "pipeline/devices": "process",
    "pipeline/data": "data/images",
    "pipeline/data/images": "",
    "pipeline/data/dataset": "process",
    "pipeline/data/batches": "data data/dataset data/images",
    "pipeline/training/model": "",
    "pipeline/training/optimizers": "",
    "pipeline/training/objectives": "training/model",
    "pipeline/training/state": "process training/optimizers",
    "pipeline/training/step": "data data/batches data/images training/objectives "
    "training/optimizers training/state",
    "pipeline/training/loop": "devices figures process training/objectives training/state "
    "training/step",
    "pipeline/recipe": "data data/images devices training/loop training/model "
    "training/objectives training/optimizers training/step",
    "pipeline/workdir": "process data/dataset devices recipe training/loop training/model "
    "training/objectives training/state",
    "pipeline/serving": "process data/images figures recipe",
    "pipeline/serving/conversion": "data/batches data/dataset serving",
    "pipeline/named_models": "data/images serving training/model workdir",
    "pipeline/evaluation/tasks": "data/dataset",
    "pipeline/evaluation/tasks/vtab": "data/dataset evaluation/tasks",
    "pipeline/evaluation/features": "data/batches data/dataset data/images evaluation/tasks "
    "serving",
    "pipeline/evaluation/protocols": "evaluation/features training/objectives",
    "pipeline/evaluation/fine_tuning": "data data/batches data/dataset data/images devices "
    "evaluation/protocols evaluation/tasks named_models serving training/optimizers "
    "training/state training/step",
    "pipeline/evaluation/reports": "data/batches data/dataset data/images evaluation/protocols "
    "evaluation/tasks figures serving training/objectives",
    "pipeline/evaluation/transfer": "process data/dataset devices evaluation/features "
    "evaluation/fine_tuning evaluation/protocols evaluation/reports evaluation/tasks "
    "evaluation/tasks/vtab named_models serving",
    "pipeline/readiness/compilers": "data/batches devices process recipe training/loop "
    "training/objectives training/state training/step",
    "pipeline/readiness": "readiness/compilers data data/batches data/dataset devices "
    "named_models process recipe training/objectives training/optimizers training/state",
    "pipeline/run": "data/batches data/dataset data/images devices evaluation/features "
    "evaluation/protocols evaluation/tasks evaluation/transfer named_models process readiness "
    "recipe serving training/loop training/objectives training/state training/step workdir",
    "pipeline/finetuning": "data data/batches data/dataset data/images devices evaluation/features "
    "evaluation/protocols evaluation/reports evaluation/tasks figures "
    "named_models process readiness recipe run serving training/loop training/model "
    "training/optimizers training/state workdir",
    "pipeline/speed": "data/batches data/dataset devices recipe serving training/loop "
    "training/model training/objectives training/state training/step",
    "pipeline/study": "data/dataset evaluation/reports evaluation/transfer figures process "
    "readiness recipe training/loop training/objectives",
}


def imported_modules(path: Path) -> set[str]:
    """Names of all that a file imports, inside functions too; of a `from`, module and name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def folder_of(module: str) -> str | None:
    """The folder that holds a module, or the folder that it is; None: not of this project."""
    path = Path(module.replace(".", "/"))
    for candidate in (path, *path.parents):
        if (ROOT / candidate).with_suffix(".py").is_file():
            return candidate.parent.as_posix()
        if (ROOT / candidate / "__init__.py").is_file():
            return candidate.as_posix()
    return None


def is_command(folder: str) -> bool:
    """Whether a folder's own files are commands, which nothing imports."""
    return folder in ("pipeline", "beam_jobs")


def edges() -> dict[str, dict[str, str]]:
    """For each folder the folders of its package that it imports, with a file that does."""
    found: dict[str, dict[str, str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name == "__init__.py":  # of `vit_keras`: the public names, from below
                continue
            folder = path.parent.relative_to(ROOT).as_posix()
            for module in imported_modules(path):
                other = folder_of(module)
                if other and other != folder and other.partition("/")[0] == package:
                    found.setdefault(folder, {}).setdefault(
                        other, path.relative_to(ROOT).as_posix()
                    )
    return found


def allowed(folder: str) -> set[str]:
    """The folders that the table lets a folder import."""
    package = folder.partition("/")[0]
    names = FOLDERS.get(folder, "").split()
    return {name if name == package else f"{package}/{name}" for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_forward_only(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    forbidden = (set(PACKAGES) - {package} - PACKAGES[package]) | FORBIDDEN[package]
    for path in files:
        wrong = {name.partition(".")[0] for name in imported_modules(path)} & forbidden
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_folders_import_what_the_table_allows():
    wrong = [
        f"{file}: {folder} may not import {other}"
        for folder, others in edges().items()
        for other, file in others.items()
        if not is_command(folder) and other not in allowed(folder)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_table_names_what_there_is_and_no_more():
    found = edges()
    there = {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {folder for folder in there if not is_command(folder)} == set(FOLDERS)
    idle = {
        folder: sorted(allowed(folder) - set(found.get(folder, {})))
        for folder in FOLDERS
        if allowed(folder) - set(found.get(folder, {}))
    }
    assert not idle, f"allowed, and not imported: {idle}"


def test_folders_form_no_cycle():
    graph = {folder: set(others) for folder, others in edges().items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises where there is a cycle


def test_nothing_imports_a_command():
    commands = {
        f"{folder}.{path.stem}"
        for folder in ("pipeline", "beam_jobs")
        for path in (ROOT / folder).glob("*.py")
        if path.stem != "__init__"
    }
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            names = imported_modules(path)
            wrong = {
                name for name in names if name in commands or name.rpartition(".")[0] in commands
            }
            assert not wrong, f"{path.relative_to(ROOT)} imports the command {', '.join(wrong)}"
