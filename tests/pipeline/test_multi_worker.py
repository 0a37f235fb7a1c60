"""Two worker processes over loopback train the weights that one process trains."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
from test_pretrain import checkpoint_values

from pipeline import cli
from pipeline.training.run import run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_workers_train_the_weights_of_one_process(config, change, tmp_path):
    config = change(config, export=False, steps=4, optim__epsilon=1e-4, log__images=0)
    yaml = tmp_path / "config.yaml"
    yaml.write_text(cli.to_yaml(change(config, workdir=config.workdir + "_workers")))
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline.pretrain", "--config", str(yaml)],
            cwd=cli.REPOSITORY,
            env=os.environ
            | {
                "TF_CONFIG": json.dumps(
                    {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
                )
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [child.communicate(timeout=240)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], "\n".join(outputs)
    run(config)
    found = checkpoint_values(config.workdir + "_workers", 4)
    for name, value in checkpoint_values(config.workdir, 4).items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
    assert "31 images" in outputs[0]
