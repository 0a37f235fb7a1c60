"""What TensorFlow says of an input that failed, in the words of whoever asserted it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from groundwork.errors import InputFailed, one_line

NOISE = re.compile(
    r"Graph execution error: .*?<stack traces unavailable> "
    r"|\{\{.*?\}\}|\[\[.*|\[Op:.*|\[Condition .*|Error in user-defined function .*?Iterator::\S+ "
)
"""What TensorFlow's message of a failed input has besides the reason."""
ASSERTION = re.compile(r"assertion failed: \[(.*)\]")
"""How it puts the text of an assertion of ours."""
ESCAPED = re.compile(r"""\\(['"\\])""")
"""Quotes and backslashes in such a text."""


@contextlib.contextmanager
def explain_failed_input() -> Iterator[None]:
    """Within it, an example that the input refuses is an InputFailed, in one line."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if not ASSERTION.search(str(error)):
            raise
        raise InputFailed(reason(error)) from error


def failed_input(error: tf.errors.OpError) -> Exception:
    """What `error` is of: an InputFailed where an iterator raised it, otherwise itself."""
    return InputFailed(reason(error)) if "GetNext" in str(error) else error


def reason(error: tf.errors.OpError) -> str:
    """What TensorFlow says of an input that failed, in one line."""
    told = ASSERTION.sub(r"\1", NOISE.sub("", one_line(error, None)))
    return ESCAPED.sub(r"\1", told).strip()[:300]
