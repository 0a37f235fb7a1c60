"""A disk that fills up in any stage: one line, nothing lost, and the run goes on afterwards."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time

from whole_runs import finish, start

MOMENTS = ("config.yaml", "checkpoints/ckpt-4.index", "checkpoints/ckpt-8.index", "transfer")
"""What appears as a run goes on."""


def test_a_disk_that_fills_up(options, small_disk, tmp_path, seed):
    generator = random.Random(seed)
    workdir, output = small_disk / "run", tmp_path / "output"
    given = [*options, f"--workdir={workdir}"]
    process = start(given, output)
    moment = generator.choice(MOMENTS)
    while process.poll() is None and not (workdir / moment).exists():
        time.sleep(0.002)
    with contextlib.suppress(OSError), (small_disk / "other").open("wb", 0) as file:
        while True:
            file.write(bytes(4096))
    status = finish(process)
    told = output.read_text()
    assert status in (1, 2), told
    assert "Traceback" not in told and "No space left" in told, told
    (small_disk / "other").unlink()
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    assert finish(start(given, output)) == 0, output.read_text()
    assert (workdir / "transfer/result.json").exists()
