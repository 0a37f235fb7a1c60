"""Which code is running."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DISTRIBUTION = "vit-keras-pipeline"


def code_version() -> dict[str, str | bool | None]:
    """`version` of the package, `commit` where it runs from a git checkout (else None), and whether
    tracked files were `modified` since."""
    try:
        version: str | None = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # run from the folder, not installed
        version = None
    commit = _git("rev-parse", "HEAD") if (REPOSITORY / ".git").exists() else None
    modified = bool(commit and _git("status", "--porcelain", "--untracked-files=no"))
    return {"version": version, "commit": commit, "modified": modified}


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):  # no git here, or not our checkout
        return None
    return answer.stdout.strip()
