"""What the preflight finds, and the memory it expects."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import keras
import pytest
from dataset_folders import REPOSITORY
from kept_tensors import kept_bytes

import vit_keras
from groundwork import command_line
from groundwork.errors import UserError
from pipeline import preflight as command
from pipeline.data.dataset.source import open_source
from pipeline.devices.cluster import Cluster
from pipeline.devices.machine import tpu_memory
from pipeline.devices.wheels import check_wheel
from pipeline.process.check import Check, raise_first_error, table
from pipeline.readiness.activations import activations
from pipeline.readiness.device_checks import check_batch, check_precision, check_workers
from pipeline.readiness.memory import advise, check_memory, checkpoint_bytes, estimate, slot_bytes
from pipeline.readiness.run_checks import check_start
from pipeline.readiness.storage_checks import check_split, check_workdir
from pipeline.training.model.build_model import build_model
from pipeline.training.state.train_state import TrainState

GB = 10**9


# --- wheel ---------------------------------------------------------------------------------------


def test_the_plain_wheel_on_a_tpu_names_the_line_to_install():
    found = check_wheel({"tensorflow": "2.21.0"}, "TPU", nvidia_driver=False)
    assert found.status == "error" and "tensorflow 2.21.0" in found.found
    assert (
        "pip install 'tensorflow-tpu==2.20.*' -f https://storage.googleapis.com/libtpu-tf-rel"
        in (found.remedy)
    )


@pytest.mark.parametrize(
    ("wheels", "device", "nvidia", "status"),
    [
        ({"tensorflow-tpu": "2.20.0"}, "TPU", False, "ok"),
        ({"tensorflow-tpu": "2.20.0", "tensorflow": "2.21.0"}, "TPU", False, "error"),
        ({"tensorflow": "2.21.0"}, "GPU", True, "ok"),
        ({"tensorflow": "2.20.1"}, "CPU", False, "ok"),
        ({"tensorflow": "2.21.0"}, "CPU", True, "warning"),
        ({"tensorflow": "2.18.0"}, "CPU", False, "warning"),
        ({"tensorflow": "2.21.0", "tensorflow-cpu": "2.21.0"}, "CPU", False, "warning"),
    ],
)
def test_wheels(wheels, device, nvidia, status):
    assert check_wheel(wheels, device, nvidia_driver=nvidia).status == status


# --- devices, batch, workers ----------------------------------------------------------------------


def test_the_batch_is_told_as_replicas_and_microbatches(config, change):
    config = change(config, batch_size=64, accumulate=2)
    found = check_batch(config, config.data, 4, "GPU")
    assert found.status == "ok" and "4 replicas × 2 microbatches of [8, 16, 16, 3]" in found.found
    assert "choose a multiple of 6" in check_batch(config, config.data, 3, "GPU").found
    assert "pads 4 to a multiple of 8" in check_batch(config, config.data, 8, "TPU").found
    odd = change(config, batch_size=8, accumulate=1, data__mixup_alpha=0.1)
    assert "choose a multiple of 16" in check_batch(odd, odd.data, 8, "GPU").found


def test_precision_of_a_tpu(config, change):
    assert check_precision(config.precision, "TPU").found.startswith("bfloat16")
    assert check_precision("float32", "TPU").status == "warning"
    assert check_precision("float16", "TPU").status == "error"


def test_workers_that_no_name_server_knows_are_named():
    found = check_workers(Cluster(("localhost:1234", "no-such-host.invalid:1"), 0, "--workers"))
    assert found.status == "error" and "no-such-host.invalid:1" in found.found


def test_memory_of_a_tpu_follows_from_its_type():
    assert tpu_memory({"TPU_ACCELERATOR_TYPE": "v3-8"}) == 16 * 2**30
    assert tpu_memory({"TPU_ACCELERATOR_TYPE": "v99-8"}) is None
    assert tpu_memory({}) is None


# --- dataset and workdir --------------------------------------------------------------------------


def test_the_first_image_is_read_and_missing_files_are_named(config, tmp_path):
    split = open_source(config.data.source).split("train")
    assert check_split(split).status == "ok" and "90 images in 4 files" in check_split(split).found
    gone = split.files[2]._replace(path=str(tmp_path / "gone"))
    broken = type(split)(**{**vars(split), "files": (*split.files[:2], gone)})
    found = check_split(broken)
    assert found.status == "error" and "1 of 3 files cannot be seen" in found.found
    Path(gone.path).write_bytes(b"no records")
    assert "cannot be read" in check_split(type(split)(**{**vars(split), "files": (gone,)})).found


def test_the_workdir_must_hold_the_checkpoints(tmp_path):
    workdir = str(tmp_path / "not" / "yet")
    assert check_workdir(workdir, 1000, 4).status == "ok"
    assert check_workdir(workdir, 10**18, 4).status == "error"
    assert check_workdir("gs://bucket/run", 1000, 4).status == "not checked"
    (tmp_path / "file").write_text("")
    assert check_workdir(str(tmp_path / "file" / "run"), 1000, 4).status == "error"


# --- memory ---------------------------------------------------------------------------------------


def small(policy="float32", **options):
    keras.config.set_dtype_policy(policy)
    options = {"width": 16, "mlp_dim": 64, "num_heads": 2, "num_layers": 2} | options
    try:
        return vit_keras.create_model(
            options.pop("variant", "Ti/8"), image_size=32, num_classes=10, **options
        )
    finally:
        keras.config.set_dtype_policy("float32")


def small_bit(policy):
    keras.config.set_dtype_policy(policy)
    try:
        return vit_keras.BiTResNet(image_size=64, units=(1, 1), width_factor=1, num_classes=10)
    finally:
        keras.config.set_dtype_policy("float32")


MODELS = {
    "vit": small,
    "vit_dropout_layer_scale": lambda policy: small(policy, dropout_rate=0.1, layer_scale_init=0.1),
    "gap_qk_norm": lambda policy: small(policy, classifier="gap", qk_norm=True),
    "axial": lambda policy: small(policy, variant="Axial-B/32", patch_size=8, num_layers=1),
    "hybrid": lambda policy: small(policy, variant="R+Ti/16", num_layers=1),
    "bit": small_bit,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_formula_of_activations_is_what_tensorflow_keeps(name):
    """Within 15 %: of the tensors of its graph that the backward pass reads."""
    policy = "mixed_bfloat16" if name in ("vit", "hybrid", "bit") else "float32"
    model = MODELS[name](policy)
    formula = activations(model, 2 if policy == "mixed_bfloat16" else 4, "CPU").kept
    measured = sum(kept_bytes(model, 2).values()) / 4
    assert formula == pytest.approx(measured, rel=0.15)


def test_remat_keeps_the_inputs_of_blocks_alone():
    shallow, deep = (activations(small(num_layers=n, remat=True), 4, "CPU") for n in (2, 4))
    assert deep.kept - shallow.kept == 2 * 17 * 16 * 4
    assert activations(small(), 4, "CPU", remat=True) == shallow


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ema_decay": 0.9, "optim__moment_dtype": "bfloat16"},
        {"optim__optimizer": "adafactor"},
    ],
)
def test_weights_slots_and_checkpoints_are_exact(config, change, fields):
    config = change(config, **fields)
    with keras.StatelessScope(initialize_variables=False):
        shapes = build_model(config.model, config.data.height_width, 3, seed=config.seed)
    state = TrainState(
        build_model(config.model, config.data.height_width, 3, seed=config.seed),
        config.optim,
        seed=0,
        ema_decay=config.ema_decay,
    )

    def size(variables):
        return sum(math.prod(v.shape) * v.dtype.size for v in variables)

    slots = slot_bytes(shapes, config.optim)
    assert slots == size(slot for table in state.optimizer.slots for slot in table.values())
    memory = estimate(shapes, config, slots=slots, replicas=1, compute_bytes=4, device="CPU")
    assert memory.weights == memory.gradients == size(state.variables)
    assert memory.average == size(state.ema)
    everything = size(state.variables) + size(state.ema) + slots
    assert checkpoint_bytes(shapes, config, slots) == everything


def test_what_does_not_fit_gets_advice_that_does(config, change):
    config = change(config, batch_size=64, data__mixup_alpha=0.2)
    with keras.StatelessScope(initialize_variables=False):
        model = build_model(config.model, config.data.height_width, 3, seed=config.seed)
    known = {
        "slots": slot_bytes(model, config.optim),
        "replicas": 2,
        "compute_bytes": 4,
        "device": "CPU",
    }
    total = estimate(model, config, **known).total
    assert check_memory(model, config, **known, device_bytes=None).status == "not checked"
    assert check_memory(model, config, **known, device_bytes=2 * total).status == "ok"
    device = total * 2 // 3
    short = check_memory(model, config, **known, device_bytes=device)
    assert short.status == "warning" and short.remedy.startswith("one of: --accumulate ")
    accumulate = int(short.remedy.split("--accumulate ")[1].split()[0])
    assert estimate(model, change(config, accumulate=accumulate), **known).total < device
    hopeless = check_memory(model, config, **known, device_bytes=1000)
    assert hopeless.status == "error" and "choose a smaller model.variant" in hopeless.remedy


def test_advice_combines_what_alone_is_not_enough(config, change):
    config = change(config, batch_size=8)

    def total(changed):
        saved = (changed.model.remat is True) + (changed.optim.moment_dtype == "bfloat16")
        return 100 - 10 * saved - changed.accumulate

    assert advise(config, total, 95, 1).startswith("one of: --accumulate 8 (0.0 MB), --model.remat")
    assert advise(config, total, 78, 1) == (
        "together: --model.remat true --optim.moment_dtype bfloat16 --accumulate 2 (0.0 MB)"
    )


# --- the command, and the first step of a run -----------------------------------------------------


def test_the_table_puts_remedies_below_and_errors_stop_a_run():
    checks = [Check("wheel", "ok", "fine"), Check("batch", "error", "odd", "make it even")]
    assert table(checks).splitlines() == [
        "wheel  ok     fine",
        "batch  error  odd",
        "              → make it even",
    ]
    with pytest.raises(UserError, match="batch: odd: make it even"):
        raise_first_error(checks)


@pytest.mark.parametrize("recipe", ["quickstart.yaml", "imagenet1k/b16_paper.yaml"])
def test_the_command_judges_recipes_whose_dataset_is_not_here(recipe, tmp_path, capsys):
    status = command.main(
        [
            *("--config", str(REPOSITORY / "configs" / recipe)),
            *("--data.source", str(tmp_path / "nowhere"), "--data.prepare", "null"),
            *("--workdir", str(tmp_path / "run"), "--strategy", "tpu"),
            *("--replicas", "8", "--device_memory", "16"),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    found = dict(line.split(maxsplit=2)[:2] for line in lines if not line.startswith(" "))
    assert status == 2
    assert found["wheel"] == found["devices"] == found["dataset"] == "error"
    assert found["batch"] == found["precision"] == found["workdir"] == "ok"
    assert found["memory"] == "ok"
    assert not (tmp_path / "run").exists()


def test_the_command_is_content_with_a_run_that_works(config, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text(command_line.to_yaml(config))
    assert command.main(["--config", str(path)]) == 0
    assert "90 images in 4 files" in capsys.readouterr().out


def test_help_and_wrong_options_do_not_import_tensorflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match="replicas is 0"):
        command.main(["--replicas", "0"])


def test_a_run_makes_the_checks_that_take_no_time(config):
    source = open_source(config.data.source)
    state = TrainState(
        build_model(config.model, config.data.height_width, 3, seed=config.seed),
        config.optim,
        seed=0,
    )
    checks = check_start(config, source, state, replicas=1, policy="float32")
    assert [check.name for check in checks] == ["dataset", "dataset", "workdir", "memory"]
    assert {check.status for check in checks} == {"ok"}
