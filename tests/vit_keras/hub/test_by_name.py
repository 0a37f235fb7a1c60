"""Weights by name, from a hub and a server on this machine, and all that can go wrong there.

huggingface_hub reads its settings when it is imported, so that what loads runs in a process of its
own, without Keras: `local_file` is what knows of names.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_hub import TOKEN, hub_server

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = os.urandom(300_000)
CONFIG = b'{"architecture": "vit_tiny_patch16_224"}'
# The package vit_keras imports Keras, which takes seconds and has no part in this.
CODE = """
import resource, sys, types
package = types.ModuleType("vit_keras")
package.__path__ = [sys.argv[1]]
sys.modules["vit_keras"] = package
from vit_keras.hub.named_file import local_file
if sys.argv[3:]:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    print(local_file(sys.argv[2]))
except (ValueError, OSError, ModuleNotFoundError) as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(3)
"""


@pytest.fixture
def hub():
    with hub_server() as server:
        server.repos["timm/tiny"] = {
            "model.safetensors": WEIGHTS,
            "config.json": CONFIG,
            "pytorch_model.bin": b"never asked for",
        }
        yield server


@pytest.fixture
def start(hub, tmp_path):
    """Starts a process that resolves a name; the caller waits for it."""

    def run(name, limit=None, **variables):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path / "home"),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "STORAGE_EMULATOR_HOST": hub.url,
            "VIT_KERAS_CACHE": str(tmp_path / "cache"),
            "PYTHONPATH": str(ROOT),
            **variables,
        }
        arguments = [str(ROOT / "vit_keras"), name, *([str(limit)] if limit else [])]
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture
def resolve(start):
    """The local file of a name."""

    def run(name, **options):
        process = start(name, **options)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return Path(out.strip().splitlines()[-1])

    return run


@pytest.fixture
def refusal(start):
    """The one line that a name is refused with."""

    def run(name, **options):
        process = start(name, **options)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 3, err
        return err.strip().splitlines()[-1]

    return run


def test_a_repository_is_loaded_once_with_its_config_and_then_without_a_network(hub, resolve):
    path = resolve("hf://timm/tiny")
    assert path.read_bytes() == WEIGHTS
    assert path.with_name("config.json").read_bytes() == CONFIG
    assert not path.with_name("pytorch_model.bin").exists()
    assert resolve(f"hf://timm/tiny@{hub.commit('timm/tiny')}") == path
    assert resolve("hf://timm/tiny/model.safetensors") == path
    assert hub.downloads("model.safetensors") == 1
    assert resolve("hf://timm/tiny", HF_HUB_OFFLINE="1") == path
    assert resolve("hf://timm/tiny", HF_ENDPOINT="http://127.0.0.1:9") == path


def test_what_the_hub_does_not_give_is_one_line_with_a_remedy(hub, refusal, resolve):
    hub.private.add("timm/tiny")
    assert "is private: look for a slip in the name, or log in" in refusal("hf://timm/tiny")
    assert resolve("hf://timm/tiny", HF_TOKEN=TOKEN).read_bytes() == WEIGHTS
    hub.private.clear()
    assert "hf://timm/tiny@v9: there is no such revision" in refusal("hf://timm/tiny@v9")
    assert "hf://timm/none is not on the Hub" in refusal("hf://timm/none")
    assert "has no weights x.npz, but config.json" in refusal("hf://timm/tiny/x.npz")
    assert "a name of the Hub is hf://OWNER/NAME" in refusal("hf://tiny")
    hub.repos["timm/none"] = {"pytorch_model.bin": b""}
    assert "holds no weights (.safetensors, .npz, .keras), but pytorch_model.bin" in refusal(
        "hf://timm/none"
    )
    assert "HF_HUB_OFFLINE is set: load it once" in refusal("hf://a/b", HF_HUB_OFFLINE="1")
    out_of_reach = refusal("hf://a/b", HF_ENDPOINT="http://127.0.0.1:9")
    assert "the Hub is out of reach: load it once with a network" in out_of_reach


def test_a_wrong_content_from_the_hub_is_not_kept(hub, refusal, resolve):
    hub.faults["model.safetensors"] = "other content"
    assert "has another SHA-256 than the Hub tells" in refusal("hf://timm/tiny")
    hub.faults.clear()
    assert resolve("hf://timm/tiny").read_bytes() == WEIGHTS


def test_a_download_that_breaks_off_goes_on(hub, resolve):
    hub.faults["model.safetensors"] = "cut"
    assert resolve("hf://timm/tiny").read_bytes() == WEIGHTS
    assert resolve("gs://timm/tiny/resolve/main/model.safetensors").read_bytes() == WEIGHTS


def test_a_full_disk_is_named_and_leaves_nothing_behind(hub, refusal, resolve, tmp_path):
    assert "free some, or set HF_HOME" in refusal("hf://timm/tiny", limit=100_000)
    assert resolve("hf://timm/tiny").read_bytes() == WEIGHTS
    url = f"{hub.url}/timm/tiny/resolve/main/model.safetensors"
    assert "free some, or set VIT_KERAS_CACHE" in refusal(url, limit=100_000)
    assert not list((tmp_path / "cache").rglob("*.part"))
    assert resolve(url).read_bytes() == WEIGHTS


@pytest.mark.parametrize("scheme", ["hf", "http"])
def test_two_processes_at_once_have_one_whole_file(hub, start, scheme):
    address = {
        "hf": "hf://timm/tiny",
        "http": f"{hub.url}/timm/tiny/resolve/main/model.safetensors",
    }
    both = [start(address[scheme]) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    paths = {Path(out.strip().splitlines()[-1]) for out, _ in results}
    assert len(paths) == 1
    assert paths.pop().read_bytes() == WEIGHTS
    assert hub.downloads("model.safetensors") == 1


def test_a_server_s_file_comes_with_its_config_and_its_digest_is_checked(hub, resolve, refusal):
    url = f"{hub.url}/timm/tiny/resolve/main/model.safetensors"
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert "has SHA-256" in refusal(f"{url}#sha256={'0' * 64}")
    path = resolve(f"{url}#sha256={digest}")
    assert json.loads(path.with_name("config.json").read_text()) == json.loads(CONFIG)
    assert path.read_bytes() == WEIGHTS
    assert resolve(url, HF_HUB_OFFLINE="1") == path
    assert "which is no sha256=" in refusal(f"{url}#md5=0")


def test_official_names_lead_to_the_buckets(hub, resolve, refusal):
    # The loopback server's addresses have a repository's form; the bucket's path is asked for.
    line = refusal("augreg:B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0")
    assert "is not there, or not public (status 404)" in line
    refusal("vit:ViT-B_16.npz")
    refusal("bit:BiT-M-R50x1")
    assert [request for request in hub.requests if request.startswith("GET")] == [
        "GET /vit_models/augreg/B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0.npz",
        "GET /vit_models/imagenet21k/ViT-B_16.npz",
        "GET /bit_models/BiT-M-R50x1.npz",
    ]
    assert "HF_HUB_OFFLINE is set" in refusal("vit:ViT-B_16", HF_HUB_OFFLINE="1")


def test_a_server_that_never_sends_all_is_given_up(hub, refusal, tmp_path):
    hub.faults["model.safetensors"] = "always cut"
    hub.repos["timm/tiny"]["model.safetensors"] = WEIGHTS * 20
    line = refusal(f"{hub.url}/timm/tiny/resolve/main/model.safetensors")
    assert "could not be downloaded in 4 attempts (the connection broke off)" in line
    assert not list((tmp_path / "cache").rglob("model.safetensors"))


def test_local_files_and_folders(resolve, refusal, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    assert "holds no weights" in refusal(str(folder))
    for name in ("a.npz", "b.npz"):
        (folder / name).touch()
    assert "holds a.npz, b.npz: name one of them" in refusal(str(folder))
    (folder / "model.safetensors").touch()
    assert resolve(str(folder)) == folder / "model.safetensors"
    assert resolve(str(folder / "a.npz")) == folder / "a.npz"
    assert "does not exist: give a file or folder, hf://OWNER/NAME" in refusal("nowhere.npz")
    assert "weights are read from hf://, gs:// and https://" in refusal("s3://a/b.npz")
