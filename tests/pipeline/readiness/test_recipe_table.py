"""Recipes side by side, and that those fit what they name which test_recipes.py does not hold."""

from __future__ import annotations

import subprocess

import pytest
from dataset_folders import REPOSITORY

from groundwork import command_line
from groundwork.errors import UserError
from groundwork.recipes import recipe_folder, recipe_names
from pipeline import preflight as command
from pipeline.data.data_config import DataConfig
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.readiness.compilers.targets import find_target
from pipeline.readiness.memory import USABLE, estimate_of
from pipeline.readiness.preflight_config import PreflightConfig
from pipeline.readiness.recipe_table import (
    estimated_bytes,
    named_hardware,
    recipe_files,
    recipe_name,
    runs_of,
)
from pipeline.recipe.run_config import PretrainConfig
from pipeline.study.member_folder import pretrain_config
from pipeline.study.study_config import StudyConfig
from pipeline.training.model.model_config import ModelConfig
from pipeline.training.optimizers.optim_config import OptimConfig

PATHS = {name: recipe_folder() / f"{name}.yaml" for name in recipe_names()}
ON_A_CPU = ("quickstart", "pretrain_folder")
FINE_TUNE = [name for name in PATHS if name.startswith("fine_tune/")]
STUDY = command_line.parse(StudyConfig, ["--config", "study_imagenet21k"], prog="study")
CPU_MEMORY = 4e9  # that recipes for a CPU name


def load(name: str) -> PreflightConfig:
    return command_line.parse(PreflightConfig, ["--config", name], prog="preflight")


def assert_fits(config: PretrainConfig, hardware: str, classes: int) -> None:
    target = find_target(hardware)
    needed = estimated_bytes(config, target, classes)
    assert needed <= USABLE * target.memory_bytes, f"{needed / 1e9:.1f} GB on {hardware}"


@pytest.mark.parametrize("name", ON_A_CPU)
def test_a_recipe_for_a_cpu_fits_what_it_names(name):
    assert named_hardware(PATHS[name]) is None
    needed = estimate_of(load(name), num_classes=1000, policy="float32", replicas=1, device="CPU")
    assert needed.total < CPU_MEMORY


@pytest.mark.parametrize("name", ["ViT-H_14", "R152x2", "R50+L_16"])
def test_the_largest_members_of_the_study_fit_the_slice_that_it_names(name):
    (member,) = (member for member in STUDY.members if member.name == name)
    hardware = named_hardware(PATHS["study_imagenet21k"])
    assert_fits(pretrain_config(STUDY, member), hardware, STUDY.assumptions.num_classes)


@pytest.mark.parametrize(
    ("variant", "hardware", "accumulate"),
    [("L/16", "v3-8", None), ("B/16", "t4", 32), ("L/16", "t4", 128)],
)
def test_fine_tuning_fits_what_its_recipes_name(variant, hardware, accumulate):
    """The largest model whose accuracy they quote, and a GPU of 16 GB with the flag they name."""
    (settings,) = {
        str(
            command_line.parse(
                TransferConfig, ["--config", name, "--model", "m"], prog="transfer"
            ).fine_tune.accumulate
        )
        for name in FINE_TUNE
    }
    config = PretrainConfig(
        data=DataConfig(source="", image_size=384),
        workdir="",
        model=ModelConfig(variant),
        optim=OptimConfig("sgd"),
        batch_size=512,
        accumulate=accumulate or int(settings),
        precision="float16" if hardware == "t4" else "auto",
    )
    assert {named_hardware(PATHS[name]) for name in FINE_TUNE} == {"v3-8"}
    assert_fits(config, hardware, 1000)


def test_a_shells_stars_stand_for_the_recipes():
    """With and without `globstar`."""
    for option in ("-O", "+O"):
        shell = ["bash", option, "globstar", "-c", "echo configs/**"]
        words = subprocess.run(shell, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        names = [str(REPOSITORY / word) for word in words.stdout.split()]
        assert {recipe_name(path) for path in recipe_files(names)} == set(recipe_names())
    with pytest.raises(UserError, match="nowhere: there is no such file or folder"):
        recipe_files(["nowhere"])


def test_what_cannot_be_compiled_is_told_and_left_out(capsys):
    runs = runs_of(
        [str(PATHS[name]) for name in ("quickstart", "study_quick", "imagenet1k/s32_augreg")],
        None,
        lambda path: command_line.parse(PreflightConfig, ["--config", path], prog="preflight"),
    )
    ((name, config, target),) = runs
    assert (name, target.name, config.model.variant) == ("imagenet1k/s32_augreg", "v3-8", "S/32")
    told = capsys.readouterr().err
    assert "quickstart: left out: its first lines name no TPU or GPU" in told
    assert "study_quick: left out: no recipe of pipeline.pretrain" in told
    with pytest.raises(UserError, match="there is none to compile"):
        runs_of([str(PATHS["quickstart"])], None, load)


def test_recipes_need_a_target():
    with pytest.raises(UserError, match="say what to compile recipes for"):
        command.main([str(PATHS["quickstart"])])
