"""The wheel, installed where nothing of the checkout is, runs the quickstart."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the commands of a fresh environment that holds the wheel.

    What the wheel requires is found in the environment that runs the tests: no network.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, source)
    changes = run("git", "-C", ROOT, "diff", "HEAD", "--binary").stdout
    if changes:  # a test of what is being worked on, not of the last commit
        subprocess.run(["git", "-C", source, "apply"], input=changes, text=True, check=True)
    wheel = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(sys.executable, *wheel, "--wheel-dir", folder, source)
    fresh = folder / "environment"
    venv.create(fresh)
    packages = Path(
        sysconfig.get_path("purelib", vars={"base": str(fresh), "platbase": str(fresh)})
    )
    (packages / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (built,) = folder.glob("*.whl")
    install = ("-m", "pip", "--python", fresh / "bin" / "python", "install", "--quiet", "--no-deps")
    run(sys.executable, *install, built)
    return fresh / "bin"


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=plain, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_the_packages_come_from_the_wheel(environment, tmp_path):
    code = (
        "import configs, groundwork, pipeline, beam_jobs, vit_keras\n"
        "print(*(m.__file__ for m in (configs, groundwork, pipeline, beam_jobs, vit_keras)))"
    )
    files = run(environment / "python", "-c", code, cwd=tmp_path).stdout.split()
    assert all(Path(file).is_relative_to(environment.parent) for file in files)


def test_the_quickstart_runs_from_an_empty_folder(environment, tmp_path):
    arguments = ["--steps", "20", "--transfer", "null", "--log.pictures", "false"]
    prepare = "beam_jobs.render_glyphs --output datasets/glyphs --per_class 5 --workers 1"
    smaller = ["--data.prepare", prepare, "--batch_size", "32", "--jit_compile", "false"]
    done = run(environment / "vit", "pretrain", *arguments, *smaller, cwd=tmp_path)
    assert "export    runs/quickstart/export" in done.stdout
    assert (tmp_path / "runs" / "quickstart" / "export" / "saved_model.pb").is_file()
    listed = run(environment / "vit", "pretrain", "--config", "list", cwd=tmp_path).stdout
    assert "imagenet1k/b16_augreg" in listed
