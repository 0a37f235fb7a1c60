"""Each recipe in configs/ is valid as it stands, and runs when it is shrunk to two steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.check_config import check_config
from pipeline.config import PretrainConfig
from pipeline.training.run import run
from vit_keras.variants import parse_variant

RECIPES = sorted(
    path
    for path in (cli.REPOSITORY / "configs").glob("*.yaml")
    if "python -m pipeline.pretrain" in path.read_text()
)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs(path, shapes_folder, tmp_path, change):
    recipe = cli.parse(PretrainConfig, ["--config", str(path)], prog="pretrain")
    check_config(recipe)
    parse_variant(recipe.model.variant)
    small = change(
        recipe,
        workdir=str(tmp_path / "run"),
        data__source=str(shapes_folder),
        data__prepare=None,
        data__image_size=16,
        data__eval_resize=recipe.data.eval_resize and 20,
        data__shuffle_window=32,
        model__variant="Ti/8",
        model__num_layers=1,
        model__width=16,
        model__mlp_dim=32,
        model__num_heads=2,
        model__representation_size=recipe.model.representation_size and 16,
        optim__warmup_steps=2,
        log__every_steps=1,
        log__images=0,
        steps=2,
        epochs=None,
        batch_size=16,
        eval_batch_size=None,
        export=False,
        transfer=None,
    )
    assert run(small) == 0
    last = json.loads(Path(small.workdir, "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 2 and last["eval/examples"] > 0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_begins_with_command_and_hardware(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("python -m pipeline.pretrain" in line for line in head)
    assert any(line.startswith("# Hardware:") for line in head)
    assert any(line.startswith(("# Expect:", "# Result:")) for line in head)


def test_plain_s16_has_the_published_number_of_steps():
    """90 epochs, counted over all of ImageNet's 1,281,167 training images."""
    path = cli.REPOSITORY / "configs" / "imagenet1k_s16_plain.yaml"
    recipe = cli.parse(PretrainConfig, ["--config", str(path)], prog="pretrain")
    assert recipe.steps == round(90 * 1_281_167 / recipe.batch_size) == 112_603
