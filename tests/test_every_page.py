"""Every page that the project writes opens without a complaint, and fits its window."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Browser

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS / "groundwork"), str(TESTS / "beam_jobs")]


def _example(folder: Path) -> Path:
    from example_page import example_page

    from groundwork import pages

    pages.write(example_page(), str(folder / "index.html"))
    return folder / "index.html"


def _dataset(folder: Path) -> Path:
    from beam_corpus import build, hostile_corpus

    from beam_jobs import describe_dataset

    build(hostile_corpus(folder / "images"), folder / "dataset")
    _run(describe_dataset.main, folder / "dataset", folder / "report")
    return folder / "report" / "index.html"


def _duplicates(folder: Path) -> Path:
    from beam_corpus import build, hostile_corpus

    from beam_jobs import find_duplicates

    build(hostile_corpus(folder / "images"), folder / "dataset")
    _run(find_duplicates.main, folder / "dataset", folder / "report")
    return folder / "report" / "index.html"


def _run(main: Callable[[list[str]], None], dataset: Path, report: Path) -> None:
    main(["--input", str(dataset), "--output", str(report), "--runner", "in_process"])


MAKERS = {"example": _example, "dataset": _dataset, "duplicates": _duplicates}


@pytest.fixture(scope="module", params=MAKERS)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of each page in turn."""
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_opens(browser: Browser, page: Path, width: int, scheme: str) -> None:
    browser.open(page, width, scheme)
    # what is folded or not yet shown has to fit, too
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.run("document.querySelectorAll('.reveal').forEach((one) => one.click())")
    assert browser.overflow() <= 0
    assert browser.run("return window.broken") is None
    broken = (
        "const images = [...document.images]; images.forEach((one) => { one.loading = 'eager'; });"
        "return Promise.all(images.map((one) => one.decode().then(() => null, () => one.alt)))"
        ".then((all) => all.filter((alt) => alt !== null));"
    )
    assert browser.run(broken) == []
    assert browser.texts("h1")[0]
    assert browser.complaints() == []
