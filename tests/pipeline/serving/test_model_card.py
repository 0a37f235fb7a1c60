"""Names of strangers in the model card: shown as they are, never Markdown or HTML."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.serving.model_card import code, escaped

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
