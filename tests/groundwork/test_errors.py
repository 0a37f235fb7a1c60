"""How another library's error becomes one line."""

from __future__ import annotations

import pytest

from groundwork.errors import one_line


@pytest.mark.parametrize(
    ("error", "length", "expected"),
    [
        (ValueError("a\n  b"), 300, "a b"),
        (StopIteration(), 300, "StopIteration"),
        (ValueError("0123456789"), 8, "01234..."),
        (ValueError("0123456789"), 10, "0123456789"),
        (ValueError("x" * 999), None, "x" * 999),
    ],
)
def test_an_error_is_one_line_of_limited_length(error, length, expected):
    assert one_line(error, length) == expected
