"""`vit COMMAND` is the command; its table has every command, and its completion every option."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import vit_command

ROOT = Path(__file__).resolve().parent.parent


def test_every_command_is_in_the_table():
    modules = {module for module, _, _ in vit_command.COMMANDS.values()}
    there = {
        f"{package}.{path.stem}"
        for package in ("beam_jobs", "pipeline")
        for path in (ROOT / package).glob("*.py")
        if "command_line.parse(" in path.read_text(encoding="utf-8")
    }
    assert modules == there


@pytest.mark.parametrize("name", vit_command.COMMANDS)
def test_help_is_short_and_imports_nothing_heavy(name):
    heavy = "dict.fromkeys(['tensorflow', 'apache_beam', 'keras', 'matplotlib'])"  # None: no import
    code = (
        f"import sys, vit_command; sys.modules.update({heavy})\n"
        f"vit_command.main([{name!r}, '--help'])"
    )
    environment = {"COLUMNS": "80", "PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    lines = done.stdout.splitlines()
    assert len(lines) < 60
    assert f"vit {name}" in lines[0] or f"python -m {vit_command.COMMANDS[name][0]}" in lines[0]


def test_help_of_all_options_documents_each_with_a_sentence():
    for _, options, _ in vit_command.COMMANDS.values():
        module, _, config = options.partition(":")
        config_class = getattr(importlib.import_module(module), config)
        for option in vit_command.options_of(config_class):
            assert option.help, f"{config}.{option.name} has no help"
            assert option.help[0].isupper() or option.help[0] in "`.", (
                f"{option.name}: {option.help}"
            )


def test_completion_knows_commands_and_options(capsys):
    vit_command.main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert "--optim.peak_lr" in script and "build-dataset" in script
    check = subprocess.run(["bash", "-n"], input=script, text=True, check=False)
    assert check.returncode == 0


def test_an_unknown_command_is_named(capsys):
    with pytest.raises(SystemExit) as ended:
        vit_command.main(["pretrian"])
    assert ended.value.code == 2
    assert "no command 'pretrian'" in capsys.readouterr().err
