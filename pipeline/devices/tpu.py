"""Start a TPU, of this VM or by name, without waiting for ever for one that is not there."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import tensorflow as tf

from groundwork.errors import UserError, one_line
from pipeline.devices.wheels import check_wheel, installed_wheels
from pipeline.process.check import raise_first_error

Result = TypeVar("Result")

LOOKUP_SECONDS = 60
CONNECT_SECONDS = 20


def local_tpu_devices() -> list[str]:
    """Device files of a TPU VM: /dev/accel* up to v4, /dev/vfio/* from v5 on.

    The latter may be other devices too: they count where libtpu is installed.
    """
    found = sorted(Path("/dev").glob("accel*"))
    if not found and importlib.util.find_spec("libtpu"):
        found = sorted(Path("/dev/vfio").glob("[0-9]*"))
    return [str(path) for path in found]


def tpu_strategy(
    tpu: str, zone: str | None = None, project: str | None = None
) -> tf.distribute.Strategy:
    """Connect to a TPU and start it.

    Args:
        tpu: name, grpc:// address, or `local`.
        zone: Google Cloud zone of a named TPU; None: that of this VM.
        project: Google Cloud project of a named TPU; None: that of this VM.

    Raises:
        UserError: there is no such TPU, or it does not start.
    """
    if tpu == "local" and not local_tpu_devices():
        raise UserError(
            "--strategy tpu: this machine has no TPU: run on a TPU VM, or name a remote one with "
            "--tpu NAME (`python -m pipeline.preflight --strategy tpu` tells what to install)"
        )
    if tpu == "local":
        raise_first_error([check_wheel(installed_wheels(), "TPU", nvidia_driver=False)])
    try:
        resolver = _within(
            LOOKUP_SECONDS,
            lambda: tf.distribute.cluster_resolver.TPUClusterResolver(
                tpu=tpu, zone=zone, project=project
            ),
        )
        if tpu != "local":
            # TensorFlow tries to connect for ever: look first whether somebody answers.
            address = urlsplit(resolver.master())
            socket.create_connection((address.hostname, address.port), CONNECT_SECONDS).close()
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    # The look-up of a name raises what the Google client library has, of no common type.
    except Exception as error:
        raise UserError(
            f"--strategy tpu: TPU {tpu!r} did not start ({type(error).__name__}: "
            f"{one_line(error)}): check --tpu, --tpu_zone and --tpu_project, "
            f"and that this TensorFlow ({tf.__version__}) is tensorflow-tpu"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _within(seconds: float, call: Callable[[], Result]) -> Result:
    """Result of `call`; a TimeoutError if it takes longer. The call then goes on in the dark."""
    outcome: list[Result] = []
    failure: list[Exception] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return outcome[0]
