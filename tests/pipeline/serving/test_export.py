"""python -m pipeline.export on the workdir of a run."""

import numpy as np
import pytest
from finished_runs import make_workdir

from groundwork.errors import UserError
from pipeline import export
from pipeline.serving.loading import open_export

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)


def run_export(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["export", *map(str, arguments)])
    return export.main()


def test_exports_the_newest_checkpoint(tmp_path, monkeypatch, capsys):
    state = make_workdir(tmp_path / "run", loss="sigmoid")
    run_export(monkeypatch, "--workdir", tmp_path / "run", "--output", tmp_path / "model")
    exported = open_export(str(tmp_path / "model"))
    np.testing.assert_allclose(
        exported.keras_model()(IMAGES, training=False),
        state.model(IMAGES, training=False),
        atol=1e-5,
    )
    description = exported.description
    assert description.class_names == ("ant", "bée")
    assert description.activation == "sigmoid"
    assert description.preprocess == {"image_size": [16, 16], "eval_resize": 20}
    assert description.origin["step"] == 2
    assert "step 2, 2 classes" in capsys.readouterr().out


def test_exports_the_averaged_weights_where_the_run_keeps_them(tmp_path, monkeypatch):
    state = make_workdir(tmp_path / "run", ema_decay=0.9)
    run_export(monkeypatch, "--workdir", tmp_path / "run", "--output", tmp_path / "model")
    stored = open_export(str(tmp_path / "model")).keras_model()
    trained = state.model(IMAGES, training=False).numpy()
    with state.averaged_weights():
        averaged = state.model(IMAGES, training=False).numpy()
    np.testing.assert_allclose(stored(IMAGES, training=False), averaged, atol=1e-5)
    assert np.abs(averaged - trained).max() > 0.01


def test_exports_a_chosen_checkpoint(tmp_path, monkeypatch):
    make_workdir(tmp_path / "run")
    fingerprints = []
    for step in (1, 2):
        arguments = [
            "--workdir",
            tmp_path / "run",
            "--output",
            tmp_path / "m",
            "--checkpoint",
            step,
        ]
        run_export(monkeypatch, *arguments)
        description = open_export(str(tmp_path / "m")).description
        assert description.origin["step"] == step
        fingerprints.append(description.fingerprint)
    assert fingerprints[0] != fingerprints[1]
    with pytest.raises(UserError, match="no checkpoint of step 7"):
        run_export(monkeypatch, *arguments[:-1], 7)


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*/file .*: name another --output"):
        run_export(monkeypatch, "--workdir", "nowhere", "--output", tmp_path / "file" / "model")


def test_what_is_not_a_run_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is not the workdir of a run"):
        run_export(monkeypatch, "--workdir", tmp_path, "--output", tmp_path / "model")
    assert not (tmp_path / "model").exists()
