"""Every page that the project writes opens without a complaint, and fits its window."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from browser import Browser

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS / name) for name in ("groundwork", "beam_jobs", "pipeline")]


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


def _transfer(folder: Path) -> Path:
    from dataset_folders import write_dataset_folder
    from exported_models import export_tiny_vit
    from transfer_tasks import config, stripes

    from pipeline.evaluation.transfer.transfer_evaluation import run_transfer

    export_tiny_vit(folder / "model")
    splits = {"train": stripes(60, 1), "test": stripes(40, 2)}
    names = (
        "$\\frac{1$",
        "<script>alert(1)</script>",
        "a name that is longer than any column " * 3,
    )
    write_dataset_folder(folder / "stripes", splits, names)
    run_transfer(config(folder, folder / "report", protocols=["knn", "few_shot"]))
    return folder / "report" / "report.html"


def _comparison(folder: Path) -> Path:
    from transfer_results import write_report

    from pipeline import compare

    labels = np.arange(40) % 4
    reports = [
        write_report(
            folder / f"a-rather-long-name-of-a-report-{rank}", labels, (labels + wrong)[None]
        )
        for rank, wrong in enumerate((labels[None] > 0, labels[None] > 2))
    ]
    compare.main([*reports, "--output", str(folder / "comparison.html")])
    return folder / "comparison.html"


def _study(folder: Path) -> Path:
    from pipeline.study.report import write_report
    from pipeline.study.results import DownstreamScore, MemberResult
    from pipeline.study.study_config import Assumptions, Downstream, Member, StudyConfig

    names = [(f"{family}-{size}", family) for family in ("ViT", "ResNet") for size in "SBL"]
    members = [Member(name, family) for name, family in names]
    results = [
        MemberResult(name, family, 10**size, 100, 10**4, 10.0**size, 2.0 * size, {
            data: DownstreamScore(0.05 * size, 0.01) for data in ("clothes", "shapes")
        })
        for size, (name, family) in enumerate(names, 9)
    ]  # fmt: skip
    data = [Downstream("clothes", {}), Downstream("shapes", {})]
    assumed = Assumptions(10, 100, "TPUv3 core", 61.5, 0.5)
    config = StudyConfig(str(folder), {}, members, data, assumed)
    write_report(config, results, {"flowers": "tfds build flowers"})
    return folder / "study.html"


def _vtab(folder: Path) -> Path:
    from groundwork import pages
    from pipeline.evaluation.tasks.vtab.vtab_tasks import TASKS
    from pipeline.evaluation.transfer.vtab_suite import SuiteResult, group_means, suite_page

    scores = {task.name: {"knn 20": 0.5, "few_shot 25": 0.6} for task in TASKS[:9]}
    summary = SuiteResult(scores, group_means(scores), False, {"dmlab": "is not there"})
    pages.write(suite_page("model", summary, ["tfds build dmlab"]), str(folder / "report.html"))
    return folder / "report.html"


def _inspection(folder: Path) -> Path:
    from dataset_folders import encode
    from exported_models import export_tiny_vit

    from pipeline import inspect_model

    export_tiny_vit(folder / "model")
    (folder / "photos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        pixels = generator.integers(0, 256, (30, 40, 3)).astype(np.uint8)
        (folder / "photos" / f"{number}.png").write_bytes(encode(pixels))
    arguments = {"model": "model", "images": "photos", "output": "report"}
    pairs = [(f"--{name}", str(folder / place)) for name, place in arguments.items()]
    inspect_model.main([part for pair in pairs for part in pair])
    return folder / "report" / "index.html"


MAKERS = {
    "example": _example,
    "dataset": _dataset,
    "duplicates": _duplicates,
    "transfer": _transfer,
    "comparison": _comparison,
    "study": _study,
    "vtab": _vtab,
    "inspection": _inspection,
}


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
