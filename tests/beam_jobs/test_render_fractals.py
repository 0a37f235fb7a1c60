import io
import json

import numpy as np
import pytest
from beam_corpus import class_names, contents, examples
from PIL import Image

from beam_jobs import render_fractals
from beam_jobs.drawing import fractals
from groundwork.errors import UserError

# Sierpinski's triangle: three maps that halve distances, towards three corners
SIERPINSKI = np.array([[0.5, 0, 0, 0.5, x, y] for x, y in ((0, 0), (0.5, 0), (0.25, 0.5))])


def test_weights_are_the_25_of_the_paper():
    assert fractals.WEIGHTS.shape == (25, 6)
    assert (fractals.WEIGHTS[0] == 1).all()
    others = fractals.WEIGHTS[1:]
    assert ((others != 1).sum(axis=1) == 1).all()
    assert sorted(set(others[others != 1])) == [0.2, 0.6, 1.4, 1.8]
    assert len(fractals.WEIGHTS) * fractals.FLIPS * 10 == render_fractals.Options.instances


def test_a_known_attractor():
    """A point of Sierpinski's triangle in barycentric binary digits never has two ones."""
    rows, columns = fractals._places(SIERPINSKI, np.random.default_rng(0), 50_000, 512, 6)
    filled = np.zeros((512, 512), bool)
    filled[rows, columns] = True
    assert 0.02 < filled.mean() < 0.2  # of area zero in the limit
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 505, 6, 505)
    middle = filled[6 + 60 : 6 + 190, 256 - 20 : 256 + 20]  # inside the largest hole
    assert not middle.any()


def test_found_systems_fill_the_picture():
    for seed in range(3):
        params = fractals.search(np.random.default_rng(seed))
        assert 2 <= len(params) <= 7
        assert np.abs(params).max() <= 1
        row, column = fractals._places(params, np.random.default_rng(99), 100_000, 512, 6)
        assert len(set(zip(row.tolist(), column.tolist(), strict=True))) / 512**2 > 0.19


def test_instances_differ_as_they_should():
    def picture(instance: int) -> np.ndarray:
        return fractals.render(SIERPINSKI, instance, np.random.default_rng(5), 64)

    plain = picture(0)
    assert set(np.unique(plain)) == {0, 127}
    assert (picture(25) == plain[:, ::-1]).all()
    assert (picture(50) == plain[::-1]).all()
    assert (picture(75) == plain[::-1, ::-1]).all()
    assert (picture(1) != plain).any()
    assert (fractals.render(SIERPINSKI, 0, np.random.default_rng(6), 64) != plain).any()


@pytest.mark.parametrize("scale", [1e200, 3.0])
def test_systems_that_diverge_still_give_a_picture(scale):
    picture = fractals.render(SIERPINSKI * scale, 0, np.random.default_rng(0), 64)
    assert picture.shape == (64, 64)


def test_the_dataset(tmp_path):
    arguments = ["--classes", "3", "--instances", "30", "--image_size", "32"]
    run = [*arguments, "--runner", "in_process", "--output"]
    render_fractals.main([*run, str(tmp_path / "a")])
    render_fractals.main([*run, str(tmp_path / "b")])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    stored = examples(tmp_path / "a")
    assert sorted(example.key for example in stored) == [
        f"{label:05d}/{instance:04d}" for label in range(3) for instance in range(30)
    ]
    assert all(example.labels == (int(example.key[:5]),) for example in stored)
    assert Image.open(io.BytesIO(stored[0].image)).size == (32, 32)
    assert class_names(tmp_path / "a") == ["00000", "00001", "00002"]
    assert len(json.loads((tmp_path / "a" / "systems.json").read_text())) == 3


def test_bad_numbers_are_named(tmp_path):
    for name, value in {"classes": 0, "instances": 1001, "image_size": 8}.items():
        with pytest.raises(UserError, match=f"--{name} {value}"):
            render_fractals.main(["--output", str(tmp_path / "d"), f"--{name}", str(value)])
