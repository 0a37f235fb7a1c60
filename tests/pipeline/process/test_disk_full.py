"""Places that cannot be written to, told in one line."""

from __future__ import annotations

import pytest
import tensorflow as tf

from groundwork.errors import DiskFull, UserError
from pipeline.process.disk_full import explain_full_disk


def test_a_place_that_is_no_folder_is_named_whoever_writes(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "log"
    for write in (path.write_text, lambda text: tf.io.write_file(str(path), text)):
        with (
            pytest.raises(UserError, match=r"the log could not be written to .*\(Not a directory"),
            explain_full_disk("the log", str(path)),
        ):
            write("text")


def test_a_full_device_is_a_full_disk():
    with (
        pytest.raises(DiskFull, match="No space left"),
        explain_full_disk("the log", "/dev/full"),
        open("/dev/full", "w") as file,  # noqa: PTH123
    ):
        file.write("text")


def test_other_errors_are_left_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), explain_full_disk("the log", str(tmp_path)):
        (tmp_path / "none").read_text()
