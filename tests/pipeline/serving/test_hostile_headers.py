"""Whatever stands in a header, reading it ends in a value or in the error that says so."""

import json
import struct
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundwork.errors import UserError
from pipeline.named_models.evaluated_model import open_evaluated_model
from pipeline.serving.description import REQUIRED, Description, parse_description

GOOD = {
    "variant": "B/16",
    "image_size": [224, 224],
    "class_names": ["ant", "猫"],
    "preprocess": {"image_size": [224, 224], "eval_resize": 256},
    "activation": "softmax",
    "parity": {"keras_logits": 1e-6},
    "files": dict.fromkeys(REQUIRED, "0" * 64),
    "fingerprint": "0" * 64,
    "origin": {"step": 3},
    "thresholds": [0.5, 0.25],
    "format": 1,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def parsed(text: str) -> Description | None:
    try:
        return parse_description(text)
    except ValueError as error:
        assert str(error)
        return None


def test_a_good_description_is_read():
    description = parsed(json.dumps(GOOD))
    assert description is not None
    assert json.loads(json.dumps(asdict(description))) == GOOD


@QUICK
@given(st.sampled_from(sorted(GOOD)), JSON)
def test_any_value_of_a_field_is_read_or_refused(name, value):
    description = parsed(json.dumps(GOOD | {name: value}))
    if description is not None:
        assert json.loads(json.dumps(asdict(description))) == GOOD | {name: value}
        assert isinstance(description.variant, str)
        assert {"saved_model.pb", "model.keras"} <= description.files.keys()


@QUICK
@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_refused(text):
    assert parsed(text) is None


def test_nesting_without_end_is_refused():
    assert parsed("[" * 100_000) is None


def refused(path, content: bytes) -> None:
    """Opening may read it or refuse it with a line; no other error, and nothing is executed."""
    path.write_bytes(content)
    try:
        open_evaluated_model(str(path)).load((16, 16), 3, "float32")
    except UserError as error:
        assert "\n" not in str(error) and path.name in str(error)


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez(path, **{"cls": np.zeros((1, 1, 4), np.float32), "head/bias": np.zeros(3, np.float32)})
    return path.read_bytes()


@QUICK
@given(st.data())
def test_npz_headers(tmp_path, npz, data):
    changed = bytearray(npz)
    for place in data.draw(st.lists(st.integers(0, len(npz) - 1), min_size=1, max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    refused(tmp_path / "a.npz", bytes(changed[: data.draw(st.integers(0, len(npz)))]))


TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "X9"]) | st.text(max_size=3),
        "shape": st.lists(st.integers(-2, 1 << 62), max_size=3),
        "data_offsets": st.lists(st.integers(-9, 1 << 62), max_size=3),
    }
)


@QUICK
@given(st.dictionaries(st.text(max_size=5), TENSOR | JSON, max_size=3), st.binary(max_size=64))
def test_safetensors_headers(tmp_path, header, content):
    text = json.dumps(header).encode()
    refused(tmp_path / "a.safetensors", struct.pack("<Q", len(text)) + text + content)


@QUICK
@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=64))
def test_safetensors_header_lengths(tmp_path, length, content):
    refused(tmp_path / "a.safetensors", struct.pack("<Q", length) + content)
