"""What is decided before TensorFlow is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

IMPORT = """
from pipeline.process.tensorflow_startup import import_tensorflow

import_tensorflow()
from tensorflow.python.util import _pywrap_util_port

print(_pywrap_util_port.IsMklEnabled())
"""


@pytest.mark.parametrize(("chosen", "expected"), [(None, "True"), ("1", "True"), ("0", "False")])
def test_onednn_is_on_unless_the_user_says_no(chosen, expected):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    if chosen is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = chosen
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected]
    assert done.stderr == ""
