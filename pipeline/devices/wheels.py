"""Whether the TensorFlow that is installed drives the accelerator.

TPUs need the wheel `tensorflow-tpu`, of which 2.20 is the newest, and libtpu, which lies at
libtpu-tf-releases. NVIDIA GPUs need the CUDA libraries of the extra `and-cuda`. Nothing here
imports TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata

from pipeline.process.check import Check

SUPPORTED = ((2, 20), (2, 21))
NEWEST_TPU = "2.20"
INSTALL_TPU = (
    f"pip uninstall -y tensorflow && pip install 'tensorflow-tpu=={NEWEST_TPU}.*' "
    "-f https://storage.googleapis.com/libtpu-tf-releases/index.html"
)
WHEELS = ("tensorflow", "tensorflow-cpu", "tensorflow-tpu", "tf-nightly")


def installed_wheels() -> dict[str, str]:
    """Versions of the TensorFlow wheels that are installed, by name."""
    found = {}
    for name in WHEELS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_wheel(wheels: Mapping[str, str], device: str, *, nvidia_driver: bool) -> Check:
    """Hold the wheels against the accelerator.

    Args:
        wheels: see `installed_wheels`.
        device: what TensorFlow is to train on: TPU, GPU or CPU.
        nvidia_driver: whether the machine has an NVIDIA GPU with its driver.
    """
    found = ", ".join(f"{name} {version}" for name, version in wheels.items()) or "no TensorFlow"
    if device == "TPU" and set(wheels) != {"tensorflow-tpu"}:
        reason = (
            "both write the same files"
            if "tensorflow-tpu" in wheels
            else f"it drives no TPU; the newest wheel that does is tensorflow-tpu {NEWEST_TPU}"
        )
        return Check("wheel", "error", f"{found}: {reason}", INSTALL_TPU)
    if len(wheels) != 1:
        return Check(
            "wheel",
            "warning" if wheels else "error",
            f"{found}: their files overwrite each other" if wheels else found,
            "pip uninstall all of them, then pip install --editable . again",
        )
    version = next(iter(wheels.values()))
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) not in SUPPORTED:
        names = " and ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
        return Check("wheel", "warning", f"{found}: this project is for {names}")
    if device == "CPU" and nvidia_driver:
        return Check(
            "wheel",
            "warning",
            f"{found}: it does not see the NVIDIA GPU of this machine",
            f"pip install 'tensorflow[and-cuda]=={match[1]}.{match[2]}.*'",
        )
    return Check("wheel", "ok", found)
