"""What the documentation tells people to type is run by a test, or says what it needs.

All of it, run or not, is held to the commands' own tables of options: an option that was renamed or
taken away cannot stay in README or docs/.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fences import NEEDS, PAGES, ROOT, Fence, all_fences, commands, shell_fences
from PIL import Image

import vit_command
from groundwork import command_line
from groundwork.errors import UserError
from groundwork.options import options_of
from pipeline.recipe.run_config import DEFAULT_RECIPE, PretrainConfig
from pipeline.speed.benchmark_config import ServingBenchmarkConfig

Capture = pytest.CaptureFixture[str]
MODULES = {module: name for name, (module, _, _) in vit_command.COMMANDS.items()}
HAS_DEFAULT_RECIPE = ("pretrain", "preflight", "benchmark")
DEPLOYMENTS = sorted((ROOT / "deploy").rglob("*.*"))
BENCHMARKS = ROOT / "benchmarks"
OF_OTHERS = {"gpus-per-task", "enable_batching", "temp_location"}
"""Options of Slurm, TensorFlow Serving and Beam that pages speak of."""


def vit_commands(text: str) -> list[list[str]]:
    """The commands of this project in a shell script, as `vit` takes them."""
    found = []
    for words in commands(text):
        for i, word in enumerate(words):
            if word == "vit" and i + 1 < len(words):
                found.append(words[i + 1 :])
                break
            if word == "-m" and words[i + 1] in MODULES:
                found.append([MODULES[words[i + 1]], *words[i + 2 :]])
                break
            if word == "-m" and words[i + 1].split(".")[0] in ("pipeline", "beam_jobs"):
                pytest.fail(f"there is no module {words[i + 1]}")
    return found


def check(name: str, arguments: list[str]) -> None:
    """Parse a command as it would itself; raises where it would refuse its options."""
    if name.startswith("-"):
        assert name in ("--help", "--print-completion")
        return
    assert name in vit_command.COMMANDS, f"there is no command vit {name}"
    if {"--help", "--help=all", "list"} & set(arguments):
        return
    module, _, config = vit_command.COMMANDS[name][1].partition(":")
    config_class = getattr(importlib.import_module(module), config)
    if name == "benchmark":
        what, *arguments = arguments
        assert what in ("input", "step", "both", "graph", "serve")
        config_class = ServingBenchmarkConfig if what == "serve" else config_class
    if name == "launch-local" and "--" in arguments:
        split = arguments.index("--")
        check("pretrain", arguments[split + 1 :])
        arguments = arguments[:split]
    recipe = DEFAULT_RECIPE if issubclass(config_class, PretrainConfig) else None
    command_line.parse(config_class, arguments, prog=name, default_config=recipe)


def check_all(text: str, where: object) -> None:
    for name, *arguments in vit_commands(text):
        try:
            check(name, arguments)
        except (UserError, AssertionError) as error:
            pytest.fail(f"{where}: vit {name} {' '.join(arguments)}: {error}")
        except SystemExit as ended:  # --print_config
            assert ended.code == 0, f"{where}: vit {name} {' '.join(arguments)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_are_those_of_the_commands(page: Path, capsys: Capture) -> None:
    for fence in shell_fences():
        if fence.page == page:
            check_all(fence.text, fence)


def test_options_in_running_text_are_those_of_the_commands() -> None:
    """Such as `--optim.peak_lr` in a sentence: some command has it."""
    known = {"help", "config", "print_config", "print-completion"} | OF_OTHERS
    for _, options, _ in vit_command.COMMANDS.values():
        module, _, config = options.partition(":")
        known |= {
            option.name for option in options_of(getattr(importlib.import_module(module), config))
        }
    known |= {option.name for option in options_of(ServingBenchmarkConfig)}
    of_benchmarks = "".join(path.read_text() for path in BENCHMARKS.glob("*.py"))
    wrong = []
    for page in PAGES:
        text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for code in re.findall(r"`([^`\n]+)`", text):
            if not code.startswith(("--", "vit ")):
                continue
            option = re.search(r"--([\w.-]+)", code)
            if option and option[1] not in known and f'"--{option[1]}"' not in of_benchmarks:
                wrong.append(f"{page.name}: `{code}`")
    assert not wrong, "\n".join(wrong)


def texts(node: object) -> Iterator[str]:
    """Every text within a YAML document."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from texts(part)


@pytest.mark.parametrize("path", DEPLOYMENTS, ids=lambda path: path.name)
def test_deployments_are_well_formed_and_give_options_that_exist(
    path: Path, capsys: Capture
) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".sbatch", ".sh"):
        subprocess.run(["bash", "-n", path], check=True)
        check_all(text, path.name)
    elif path.suffix == ".yaml":
        for document in yaml.safe_load_all(text):
            assert document["kind"]
            for script in texts(document):
                check_all(re.sub(r"\$\w+", "0", script), path.name)


def test_every_block_says_what_becomes_of_it() -> None:
    wrong = []
    for fence in all_fences():
        if fence.language == "python" or fence in shell_fences():
            kinds = {mark.partition("=")[0] for mark in fence.marks}
            values = [mark.partition("=")[2] for mark in fence.marks]
            good = (
                fence.marks == ("run",)
                or (kinds == {"needs"} and set(",".join(values).split(",")) <= NEEDS)
                or (kinds == {"tested"} and all((ROOT / value).is_file() for value in values))
            )
            if not good:
                wrong.append(f"{fence}: {' '.join(fence.info)}")
    assert not wrong, "\n".join(wrong)


def test_what_is_said_to_be_tested_stands_in_that_test() -> None:
    for fence in shell_fences():
        tests = [mark.removeprefix("tested=") for mark in fence.marks if mark.startswith("tested=")]
        if tests:
            text = "".join((ROOT / test).read_text(encoding="utf-8") for test in tests)
            for name, *_ in vit_commands(fence.text):
                module, options, _ = vit_command.COMMANDS[name]
                names = (module.rpartition(".")[2], options.rpartition(":")[2])
                assert any(word in text for word in names), f"{fence}: {tests} have no {names}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has some photographs in it."""
    folder = tmp_path_factory.mktemp("reader")
    for label, color in (("cat", "gray"), ("dog", "brown")):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(20):
            image = Image.effect_noise((96, 64), 10 + i).convert("RGB")
            image.paste(color, (i, i, i + 20, i + 20))
            image.save(folder / "photos" / label / f"{i}.jpg")
    return folder


def test_commands_run_in_the_order_of_the_pages(reader: Path) -> None:
    """Those marked `run`, one after another in one folder, as a reader would type them."""
    marked = [fence for fence in shell_fences() if fence.marks == ("run",)]
    assert marked
    for fence in marked:
        for name, *arguments in vit_commands(fence.text):
            done = _vit(reader, name, *arguments)
            assert done.returncode == 0, f"{fence}: vit {name}: {done.stderr[-2000:]}"


def _vit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vit_command", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_python_of_the_pages_runs(reader: Path, tmp_path: Path) -> None:
    """The Python blocks marked `run`, those of a page one after another in one namespace."""
    marked: dict[Path, list[Fence]] = {}
    for fence in all_fences():
        if fence.language == "python" and fence.marks == ("run",):
            marked.setdefault(fence.page, []).append(fence)
    assert marked
    script = tmp_path / "pages.py"
    parts = [
        f"print({page.name!r}, flush=True)\nexec({''.join(f.text for f in found)!r}, {{}})\n"
        for page, found in marked.items()
    ]
    script.write_text("".join(parts), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, script],
        cwd=reader,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-500:]}{done.stderr[-2000:]}"
