"""Names of strangers in the model card: shown as they are, never Markdown or HTML."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.serving.model_card import code, escaped, history

ACTIVE = re.compile(r"[<>*_`\\[\]!|~#$&]")


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "![x](https://example.org/a.png)",
        "[click](javascript:alert(1))",
        "a\n# Heading",
        "`code`",
        "**bold** _and_ ~~gone~~",
        "a | b",
        "&lt;b&gt;",
        "$\\frac{1}$",
        "https://example.org",
    ],
)
def test_nothing_in_a_name_is_active(name):
    shown = escaped(name)
    assert not ACTIVE.search(re.sub(r"&#\d+;", "", shown))
    assert "://" not in shown  # GitHub makes links of addresses by themselves
    assert html.unescape(shown) == " ".join(name.split())


def test_plain_names_stay_legible():
    for name in ("tench, Tinca tinca", "bée", "猫", "St. John's wort (yellow)", "Norfolk terrier"):
        assert escaped(name) == name


@given(st.text())
def test_inline_code_cannot_be_ended(text):
    shown = code(text)
    fence = re.match("`+", shown)[0]
    inside = shown[len(fence) : -len(fence)]
    assert shown.endswith(fence) and fence not in re.findall("`+", inside)
    assert "\n" not in shown


def start(first_step: int, total_steps: int, **options) -> dict:
    return {
        "start_step": first_step,
        "total_steps": total_steps,
        "options": {"workdir": "runs/a", "steps": total_steps, "optim": options},
        "code": {"version": "1.2", "commit": None, "modified": False},
        "tensorflow": "2.20",
        "keras": "3.1",
    }


def test_the_history_tells_each_start_and_what_it_changed():
    starts = [start(0, 600, peak_lr=0.001), start(400, 1200, peak_lr=5e-4), start(900, 1200)]
    starts[2]["options"] = starts[1]["options"]
    lines = history(starts, 700).splitlines()
    assert lines == [
        "- steps 0 to 400 of 600: vit-keras-pipeline 1.2, no git checkout, TensorFlow 2.20, Keras "
        "3.1",
        "- steps 400 to 700 of 1,200: vit-keras-pipeline 1.2, no git checkout, TensorFlow 2.20, "
        "Keras 3.1",
        "  - `--optim.peak_lr` `0.0005`, before `0.001`",
        "  - `--steps` `1200`, before `600`",
    ]
    whole = history(starts, 1200).splitlines()
    assert whole[1].startswith("- steps 400 to 900") and whole[-1].startswith(
        "- steps 900 to 1,200"
    )
    assert history([], 1200) == "Not recorded."
