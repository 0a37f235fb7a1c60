"""The command line: help without TensorFlow, errors in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from groundwork.errors import UserError
from pipeline import cli
from pipeline.config import PretrainConfig

PROG = "python -m pipeline.pretrain"


def parse(*arguments):
    return cli.parse(PretrainConfig, arguments, prog=PROG)


def test_command_line_wins_over_yaml_and_the_result_round_trips(tmp_path):
    first = tmp_path / "first.yaml"
    first.write_text("workdir: w\nsteps: 5\ndata: {source: d, image_size: [32, 64]}\n")
    config = parse("--config", str(first), "--steps", "7", "--transfer.source", "t")
    assert (config.steps, config.data.height_width) == (7, (32, 64))
    second = tmp_path / "second.yaml"
    second.write_text(cli.to_yaml(config))
    assert parse("--config", str(second)) == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.source", "d"], "required: workdir"),
        (["--data.source", "d", "--workdir", "w", "--model.varant", "B/16"], "--model.variant"),
        (["--data.source", "d", "--workdir", "w", "--steps", "many"], "steps"),
        (["--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_errors_name_the_culprit_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        parse(*arguments)
    assert "\n" not in str(error.value)


def test_help_documents_every_field_without_importing_tensorflow():
    code = (
        "import sys, runpy; sys.argv = ['pretrain', '--help']\n"
        "try: runpy.run_module('pipeline.pretrain', run_name='__main__')\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cli.REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("False")
    for option in ("--data.source", "--model.variant", "--optim.peak_lr", "--strategy"):
        assert option in done.stdout
    assert "warm-up" in done.stdout


def test_a_user_error_exits_with_2_and_no_traceback():
    command = [sys.executable, "-m", "pipeline.pretrain", "--steps", "0"]
    done = subprocess.run(command, cwd=cli.REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: steps is 0: it must be greater than 0\n"
