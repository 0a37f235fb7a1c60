"""Each recipe in configs/ is valid as it stands, costs what it says, and runs when it is shrunk."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import keras
import pytest
import yaml
from dataset_folders import REPOSITORY
from exported_models import export_tiny_vit, tiny_vit

from groundwork import command_line
from groundwork.errors import UserError
from groundwork.recipes import recipe_folder, recipe_names
from pipeline.evaluation.transfer.check_transfer_config import check_transfer_config
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.process.check import gigabytes
from pipeline.readiness.compilers.report import policy_of
from pipeline.readiness.compilers.targets import find_target
from pipeline.readiness.dataset_sizes import DATASETS
from pipeline.readiness.memory import USABLE, compute_bytes, estimate, slot_bytes
from pipeline.readiness.recipe_table import named_hardware
from pipeline.recipe.check_run_config import check_run_config
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.run_stages import run
from pipeline.training.loop.compute_meter import training_flops
from pipeline.training.objectives.objective import build_objective_model
from vit_keras.bit_resnet import BiTResNet
from vit_keras.create import MODELS
from vit_keras.variants import parse_variant

CONFIGS = recipe_folder()
HARDWARE_PAGE = REPOSITORY / "docs" / "hardware.md"
PATHS = [CONFIGS / f"{recipe}.yaml" for recipe in recipe_names()]
RECIPES = [path for path in PATHS if "python -m pipeline.pretrain" in path.read_text()]
TRANSFERS = [path for path in PATHS if "python -m pipeline.transfer" in path.read_text()]
PUBLISHED = [path for path in RECIPES if path.parent != CONFIGS]

# Every kind of layer, as small as it goes at 32 pixels.
TINY_VIT = {"num_layers": 1, "width": 16, "mlp_dim": 32, "num_heads": 2}
TINY_RESNET = {"units": [1], "width_factor": 0.5}


def name(path: Path) -> str:
    return str(path.relative_to(CONFIGS).with_suffix(""))


def load(path: Path) -> PretrainConfig:
    return command_line.parse(PretrainConfig, ["--config", str(path)], prog="pretrain")


@lru_cache
def smallest_model(variant: str) -> dict[str, object]:
    """The smallest model of the family of `variant`; the same for all that share their layers."""
    known = parse_variant(variant)
    if MODELS[known.architecture] is BiTResNet:
        return {"variant": "BiT-R50x1", **TINY_RESNET}
    if known.arguments.get("axial"):
        return {"variant": "Axial-Ti/16", **TINY_VIT}
    if "stem_units" in known.arguments:
        stem = {"stem_units": [1], "stem_width_factor": 0.5, "patch_size": 4}
        return {"variant": "R+Ti/16", **TINY_VIT, **stem}
    return {"variant": "Ti/16", **TINY_VIT, "patch_size": 16}


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> str:
    """What a distilled recipe learns from instead."""
    folder = tmp_path_factory.mktemp("teacher") / "export"
    export_tiny_vit(folder, tiny_vit(image_size=(32, 32)))
    return str(folder)


def shrink(recipe: PretrainConfig, source: str, teacher: str, change) -> PretrainConfig:
    """Two steps on 32-pixel images. Numbers become small or the same; every choice is kept."""
    model, optim = recipe.model, recipe.optim
    return change(
        recipe,
        workdir="",
        data__source=source,
        data__prepare=None,
        data__train_split="train",
        data__eval_split="validation",
        data__image_size=32,
        data__eval_resize=recipe.data.eval_resize and 40,
        data__shuffle_window=32,
        **{f"model__{field}": value for field, value in smallest_model(model.variant).items()},
        model__representation_size=model.representation_size and 16,
        model__dropout_rate=model.dropout_rate and 0.1,
        model__stochastic_depth_rate=model.stochastic_depth_rate and 0.1,
        model__head_bias_init=-1.0 if model.head_bias_init else 0.0,
        masked_autoencoder__decoder_width=16,
        masked_autoencoder__decoder_layers=1,
        masked_autoencoder__decoder_heads=2,
        evals=[replace(one, train_split="train") for one in recipe.evals],
        patch_sizes=recipe.patch_sizes and [8, 16],
        optim__peak_lr=1e-3,
        optim__end_lr=1e-4 if optim.end_lr else 0.0,
        optim__warmup_steps=1,
        optim__cooldown_steps=optim.cooldown_steps and 1,
        optim__weight_decay=0.1,
        log__every_steps=1,
        log__images=0,
        checkpoint__every_steps=2,
        steps=2,
        epochs=None,
        batch_size=16,
        accumulate=1,
        eval_every_steps=None,
        eval_batch_size=None,
        jit_compile="false",
        init_from=None,
        distillation=recipe.distillation and replace(recipe.distillation, teacher=teacher),
        export=False,
        transfer=None,
    )


@pytest.fixture(scope="session")
def choices_run() -> set[tuple[str, str]]:
    """Options with their values that a recipe has been run with."""
    return set()


def choices_of(options: object, path: str = "") -> set[tuple[str, str]]:
    """Every option of a recipe with its value; of a number, whether it is 0."""
    if not isinstance(options, dict):
        number = isinstance(options, float | int) and not isinstance(options, bool)
        return {(path, "a number" if number and options else str(options))}
    return set().union(*(choices_of(value, f"{path}.{key}") for key, value in options.items()))


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_recipe_runs(path, shapes_folder, teacher, tmp_path, change, choices_run):
    """Every choice of a recipe is run once, not every combination of them."""
    small = shrink(load(path), str(shapes_folder), teacher, change)
    choices = choices_of(yaml.safe_load(command_line.to_yaml(small)))
    if choices <= choices_run:
        return
    workdir = tmp_path / "run"
    assert run(change(small, workdir=str(workdir))) == 0
    choices_run |= choices
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    last = {name: value for row in rows if row["step"] == 2 for name, value in row.items()}
    for evaluation in ("eval", *(options.name for options in small.evals)):
        assert last[f"{evaluation}/examples"] > 0


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_recipe_is_valid_and_begins_with_command_and_hardware(path):
    check_run_config(load(path))
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    (command,) = (line for line in head if "python -m pipeline.pretrain" in line)
    if "--config" in command:
        assert f"--config {name(path)}" in command
    assert any(line.startswith("# Hardware:") for line in head)
    assert any(line.startswith(("# Expect:", "# Result:")) for line in head)


@pytest.mark.parametrize("path", PUBLISHED, ids=name)
def test_recipe_costs_what_it_says_and_fits_what_it_names(path):
    """By the estimate of `preflight`. The model is made at its full size, with shapes alone."""
    recipe = load(path)
    classes, images = DATASETS[recipe.data.source]
    target = find_target(named_hardware(path))
    policy = policy_of(recipe, target)
    with keras.StatelessScope(initialize_variables=False):
        size = recipe.data.height_width
        model = build_objective_model(recipe, recipe.model, size, classes, seed=0, policy=policy)
    seen = recipe.steps * recipe.batch_size if recipe.steps else round(recipe.epochs * images)
    said = re.search(r"^# Cost: +([\d.,]+) exaFLOPs", path.read_text(), re.MULTILINE)
    exaflops = training_flops(model, recipe.patch_sizes) * seen / 1e18
    assert float(said[1].replace(",", "")) == pytest.approx(exaflops, rel=0.05)
    memory = estimate(
        model,
        recipe,
        slots=slot_bytes(model, recipe.optim),
        replicas=target.chips,
        compute_bytes=compute_bytes(policy),
        device=target.device,
    )
    assert memory.total <= USABLE * target.memory_bytes, f"{target.name}: {memory}"
    for row in re.findall(rf"^\| {name(path)} \|.*", HARDWARE_PAGE.read_text(), re.MULTILINE):
        assert gigabytes(memory.total) in row, "docs/hardware.md is out of date"


@pytest.mark.parametrize(("epochs", "steps"), [(90, 112_603), (150, 187_671), (300, 375_342)])
def test_plain_s16_has_the_published_number_of_steps(epochs, steps):
    """Epochs are counted over all of ImageNet's 1,281,167 training images."""
    recipe = load(CONFIGS / "imagenet1k" / f"s16_plain_{epochs}ep.yaml")
    assert recipe.steps == steps == round(epochs * 1_281_167 / recipe.batch_size)


@pytest.mark.parametrize("path", TRANSFERS, ids=name)
def test_transfer_recipe_is_valid_and_begins_with_command_and_hardware(path):
    arguments = ["--config", name(path), "--model", "MODEL"]
    check_transfer_config(command_line.parse(TransferConfig, arguments, prog="transfer"))
    text = path.read_text()
    assert f"python -m pipeline.transfer --config {name(path)} --model MODEL" in text
    assert "# Hardware:" in text and "# Expect:" in text


def test_every_file_is_a_recipe_or_is_extended_by_one():
    extended = {
        path.parent / yaml.safe_load(path.read_text()).get("extends", "")
        for path in CONFIGS.rglob("*.yaml")
    }
    assert set(CONFIGS.rglob("_*.yaml")) <= extended


def test_list_shows_each_recipe_on_a_line(capsys):
    with pytest.raises(SystemExit):
        command_line.parse(PretrainConfig, ["--config", "list"], prog="pretrain")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert "Table 3" in next(line for line in lines if line.startswith("imagenet1k/b16_paper"))


def test_a_recipe_extends_another_and_the_command_line_wins(tmp_path):
    (tmp_path / "base.yaml").write_text("workdir: w\ndata: {source: d, flip: false}\nsteps: 5\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\ndata: {image_size: 48}\n")
    arguments = ["--config", str(tmp_path / "own.yaml"), "--steps", "7"]
    recipe = command_line.parse(PretrainConfig, arguments, prog="pretrain")
    assert (recipe.data.flip, recipe.data.image_size, recipe.steps) == (False, 48, 7)
    (tmp_path / "own.yaml").write_text("extends: nowhere.yaml\n")
    with pytest.raises(UserError, match=r"own.yaml: it extends nowhere.yaml, which is not there"):
        command_line.parse(PretrainConfig, arguments, prog="pretrain")


def test_a_recipe_cannot_name_a_class_to_import(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    (tmp_path / "recipe.yaml").write_text("transfer: {class_path: evil.Config}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for arguments in (
        ["--config", "recipe.yaml"],
        ["--transfer", "{class_path: evil.Config}"],
        ["--transfer.class_path", "evil.Config"],
    ):
        with pytest.raises(UserError, match="class_path is not taken"):
            command_line.parse(PretrainConfig, arguments, prog="pretrain")
    assert not (tmp_path / "ran").exists()
