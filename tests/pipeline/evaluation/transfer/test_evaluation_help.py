"""Help of the commands around an exported model: every option, at once."""

import subprocess
import sys

HELP = """
import sys
from importlib import import_module
for name in ("export", "transfer", "classify", "compare"):
    sys.argv = [name, "--help=all"]
    try:
        import_module(f"pipeline.{name}").main()
    except SystemExit as end:
        assert not end.code
heavy = {"tensorflow", "keras", "sklearn", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_documents_the_options_and_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in (
        "--checkpoint",
        "--data.split",
        "--few_shot.shots",
        "--fine_tune.learning_rates",
        "--attention",
        "reports",
    ):
        assert option in done.stdout
    assert "95 % confidence" in done.stdout.replace("\n", " ")
