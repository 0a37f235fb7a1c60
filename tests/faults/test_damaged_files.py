"""Whatever file of a run or of its dataset is damaged: the run goes on, or one line names it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from finished_runs import checkpoint_values
from whole_runs import finish, start

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.run_stages import run

TRIALS = 8
"""Of each seed."""


def damage(path: Path, generator: random.Random) -> str:
    """Damage a file in one of the ways that disks, copies and people have; tells which."""
    content = bytearray(path.read_bytes())
    way = generator.choice(["deleted", "emptied", "cut", "flipped", "overwritten", "prolonged"])
    place = generator.randrange(max(1, len(content)))
    match way:
        case "deleted":
            path.unlink()
            return way
        case "emptied":
            content.clear()
        case "cut":
            del content[place:]
        case "flipped" if content:
            content[place] ^= 1 << generator.randrange(8)
        case "overwritten":
            length = min(64, len(content) - place)
            content[place : place + length] = generator.randbytes(length)
        case "prolonged":
            content += generator.randbytes(64)
    path.write_bytes(content)
    return f"{way} at {place}"


@pytest.fixture(scope="module")
def begun(options, tmp_path_factory):
    """A run that was stopped after 6 of its 8 steps, and its options."""
    folder = tmp_path_factory.mktemp("begun")
    six = [option for option in options if not option.startswith(("--steps", "--transfer"))]
    six += [f"--workdir={folder / 'run'}", "--class_weights=auto", "--export=false"]
    status = finish(start([*six, "--steps=6"], folder / "output"))
    assert status == 0, (folder / "output").read_text()
    return folder / "run", [*six, "--steps=8"]


def test_a_damaged_file_never_goes_unnoticed_or_untold(begun, dataset, tmp_path, seed):
    workdir, given = begun
    generator = random.Random(seed)
    for trial in range(TRIALS):
        folder = tmp_path / str(trial)
        shutil.copytree(workdir, folder / "run")
        shutil.copytree(dataset, folder / "noise")
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        path = generator.choice([f for f in files if "tfevents" not in f.name])
        way = damage(path, generator)
        arguments = [*given, f"--workdir={folder / 'run'}", f"--data.source={folder / 'noise'}"]
        config = command_line.parse(PretrainConfig, ["--config={}", *arguments], prog="pretrain")
        told = f"seed {seed}, trial {trial}: {path.relative_to(folder)} {way}"
        try:
            assert run(config) == 0, told
        except UserError as error:
            assert "\n" not in str(error), told
            assert str(folder) in str(error) or path.name in str(error), f"{told}: {error}"
        except Exception as error:
            pytest.fail(f"{told}: {type(error).__name__}: {error}")
        else:
            assert checkpoint_values(folder / "run", 8)["step/.ATTRIBUTES/VARIABLE_VALUE"] == 8
        shutil.rmtree(folder)
