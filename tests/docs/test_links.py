"""Links between pages lead somewhere, and the site's menu has every page."""

from __future__ import annotations

import re
from pathlib import Path

from fences import PAGES, ROOT

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.*)$", re.MULTILINE)


def without_code(text: str) -> str:
    """A page without its fenced and inline code."""
    text = re.sub(r"^( *)(`{3,}).*?^\1\2`*$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchor(heading: str) -> str:
    """The anchor that GitHub and MyST give a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def test_links_resolve() -> None:
    wrong = []
    for page in PAGES:
        for target in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, place = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists():
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
            elif place and path.suffix == ".md":
                text = re.sub(
                    r"^( *)(`{3,}).*?^\1\2`*$",
                    "",
                    path.read_text(encoding="utf-8"),
                    flags=re.DOTALL | re.MULTILINE,
                )
                if place not in map(anchor, HEADING.findall(text)):
                    wrong.append(f"{page.relative_to(ROOT)}: {target} has no such heading")
    assert not wrong, "\n".join(wrong)


def test_the_menu_has_every_page() -> None:
    menu = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {
        path.relative_to(ROOT / "docs").with_suffix("").as_posix()
        for path in (ROOT / "docs").rglob("*")
        if path.suffix in (".md", ".ipynb") and "_build" not in path.parts
    }
    listed = set(re.findall(r"^[\w/]+$", menu, re.MULTILINE))
    assert pages - {"index"} == listed & pages == pages - {"index"}


def test_pictures_of_pages_are_there() -> None:
    for page in PAGES:
        for path in re.findall(r"\bsrc=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
            assert Path(page.parent / path).exists(), f"{page.name}: {path}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_files_that_pages_name_are_there() -> None:
    """Such as `pipeline/training/step/train_step.py`, or `train_step.py` alone."""
    tops = ("beam_jobs", "benchmarks", "configs", "deploy", "groundwork", "pipeline", "tests")
    there = [path for top in (*tops, "vit_keras", "docs") for path in (ROOT / top).rglob("*")]
    known = {path.relative_to(ROOT).as_posix() for path in there} | {"vit_command.py", *tops}
    wrong = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for name in re.findall(r"`([\w/.-]+(?:\.py|\.sbatch|/))`", text):
            bare = name.rstrip("/")
            if name.endswith("/") and not name.startswith(tops):
                continue  # a folder that a command writes
            if not any(path == bare or path.endswith(f"/{bare}") for path in known):
                wrong.append(f"{page.name}: {name}")
    assert not wrong, "\n".join(wrong)
