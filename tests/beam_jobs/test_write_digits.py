import io

import numpy as np
from beam_corpus import class_names, examples
from PIL import Image
from sklearn.datasets import load_digits

from beam_jobs import write_digits


def test_all_digits_as_scikit_learn_has_them(tmp_path):
    write_digits.main(["--output", str(tmp_path / "d")])
    data = load_digits()
    train, test = examples(tmp_path / "d"), examples(tmp_path / "d", "test")
    assert len(train) + len(test) == 1797
    assert abs(len(train) - len(test)) < 100
    for example in train + test:
        number = int(example.key.removeprefix("uci-digits/"))
        pixels = np.asarray(Image.open(io.BytesIO(example.image)), np.float64)
        assert example.labels == (data.target[number],)
        assert np.abs(pixels * 16 / 255 - data.images[number]).max() < 0.04
    assert class_names(tmp_path / "d") == [str(digit) for digit in range(10)]
