"""The worker processes of a run: from `--workers`, from TF_CONFIG or from Slurm.

Nothing here imports TensorFlow. Its own `SlurmClusterResolver` is not used: it calls nvidia-smi,
and so fails on a node without GPU; it sorts hosts by name, so that node10 comes before node2 while
Slurm's ranks say otherwise; and all jobs on a node get the same ports.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundwork.errors import UserError
from pipeline.devices.device_options import DeviceOptions

SLURM_FIRST_PORT = 12_000
SLURM_PORTS = 20_000


@dataclass(frozen=True)
class Cluster:
    """Processes that train together.

    Attributes:
        workers: `host:port` of each; the first is the chief.
        index: of this process.
        source: where this was found, for messages.
    """

    workers: tuple[str, ...]
    index: int
    source: str

    def __str__(self) -> str:
        """One line for the user."""
        return (
            f"worker {self.index} of {len(self.workers)} ({self.workers[self.index]}), "
            f"from {self.source}"
        )


def cluster_of(options: DeviceOptions) -> Cluster | None:
    """The cluster that this process belongs to by `options`; raises as `find_cluster`."""
    if options.strategy not in ("auto", "multi_worker"):
        return None
    return find_cluster(options.workers, options.worker_index, os.environ)


def find_cluster(
    workers: str | None, worker_index: int | None, environment: Mapping[str, str]
) -> Cluster | None:
    """Find the cluster this process belongs to; None: there is none.

    What is given explicitly, by `workers` or by TF_CONFIG, comes before what Slurm says, for a
    Slurm step may start workers in its own way.

    Args:
        workers: `host:port,host:port`, the same for each worker.
        worker_index: place of this process among them; None: that of this machine.
        environment: environment variables.

    Raises:
        UserError: a value that cannot be, or `workers` and TF_CONFIG that contradict each other.
    """
    if workers is None and worker_index is not None:
        raise UserError("worker_index is given without workers: give --workers host:port,host:port")
    given = None if workers is None else _from_option(workers, worker_index)
    text = environment.get("TF_CONFIG")
    configured = _from_tf_config(text) if text else None
    if given and configured:
        if (given.workers, given.index) != (configured.workers, configured.index):
            raise UserError(
                f"--workers says {','.join(given.workers)} (index {given.index}), but TF_CONFIG "
                f"{','.join(configured.workers)} (index {configured.index}): unset one of them"
            )
        return given
    return given or configured or _from_slurm(environment)


def unknown_addresses(cluster: Cluster) -> list[str]:
    """Workers whose names no name server knows here, or not yet."""
    return [address for address in cluster.workers if not _resolves(address)]


def expand_node_list(text: str) -> list[str]:
    """Expand Slurm's list of hosts: `n[1-2,07],m` to n1, n2, n07, m.

    Raises:
        UserError: it is not such a list.
    """
    nodes = []
    for part in re.split(r",(?![^[]*\])", text):
        pieces = re.split(r"(\[[^]]*\])", part)
        choices = [_expand_range(p[1:-1]) if p.startswith("[") else [p] for p in pieces]
        nodes += ["".join(combination) for combination in itertools.product(*choices)]
    if not all(re.fullmatch(r"[\w.-]+", node) for node in nodes):
        raise UserError(f"Slurm's list of nodes {text!r} is not understood: give --workers instead")
    return nodes


def _expand_range(text: str) -> list[str]:
    """`1-3,07` to 1, 2, 3, 07: the digits of the first number are kept."""
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return [f"[{text}]"]  # the caller names the whole list
        numbers += [str(n).zfill(len(first)) for n in range(int(first), int(last or first) + 1)]
    return numbers


def _from_option(text: str, index: int | None) -> Cluster:
    workers = split_addresses(text, "--workers")
    if index is None:
        names = _names_of_this_machine()
        own = [i for i, worker in enumerate(workers) if worker.rpartition(":")[0] in names]
        if len(own) != 1:
            raise UserError(
                f"--workers {text}: this machine ({socket.gethostname()}) is {len(own)} times in "
                f"the list: say which worker this is with --worker_index 0 to {len(workers) - 1}"
            )
        index = own[0]
    _check_index(index, workers, "--worker_index")
    return Cluster(tuple(workers), index, "--workers")


def _from_tf_config(text: str) -> Cluster | None:
    try:
        config = json.loads(text)
        jobs, task = config.get("cluster") or {}, config.get("task") or {}
        chiefs, workers = list(jobs.get("chief", [])), list(jobs.get("worker", []))
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"TF_CONFIG is not what TensorFlow expects ({error}): give every worker "
            '{"cluster": {"worker": ["host0:port", …]}, "task": {"type": "worker", "index": 0}} '
            "with its own index"
        ) from error
    if not chiefs and not workers:  # as some platforms set it for a single machine
        return None
    others = set(jobs) - {"chief", "worker"}
    if others or kind not in ("chief", "worker"):
        raise UserError(
            f"TF_CONFIG has tasks of type {', '.join(sorted(others | {kind} - {'worker'}))}: this "
            f"trains with chief and worker alone"
        )
    _check_index(index, chiefs if kind == "chief" else workers, f"TF_CONFIG's {kind} index")
    addresses = chiefs + workers
    if "index" not in task and len(addresses) > 1:
        raise UserError(
            f"TF_CONFIG has {len(addresses)} workers, but does not say which of them this is: give "
            f'every one its own "task": {{"type": "worker", "index": 0}}'
        )
    _check_addresses(addresses, "TF_CONFIG")
    index += len(chiefs) if kind == "worker" else 0
    return Cluster(tuple(addresses), index, "TF_CONFIG")


def _from_slurm(environment: Mapping[str, str]) -> Cluster | None:
    """The tasks of the Slurm step (what one `srun` starts) that this process belongs to."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "SLURM_PROCID" not in environment or tasks == "1":
        return None
    try:
        nodes = expand_node_list(environment["SLURM_STEP_NODELIST"])
        counts = _expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        node, place = int(environment["SLURM_NODEID"]), int(environment["SLURM_LOCALID"])
        job = int(environment["SLURM_JOB_ID"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"this Slurm step has {tasks} tasks, but its environment is not understood "
            f"({error!r}): give --workers and --worker_index"
        ) from error
    if len(counts) != len(nodes) or sum(counts) != int(tasks) or not node < len(nodes):
        raise UserError(
            f"this Slurm step has {tasks} tasks, but {len(nodes)} nodes with {counts} tasks: give "
            f"--workers and --worker_index"
        )
    # Every job has ports of its own, as long as no other of a number 20,000 away shares the node.
    first_port = SLURM_FIRST_PORT + job % SLURM_PORTS
    workers = [
        f"{host}:{first_port + task}"
        for host, count in zip(nodes, counts, strict=True)
        for task in range(count)
    ]
    # By place, not by rank, which depends on how srun distributes its tasks.
    index = sum(counts[:node]) + place
    return Cluster(tuple(workers), index, f"Slurm job {job}")


def _expand_counts(text: str) -> list[int]:
    """Slurm's tasks per node: `2(x3),1` to 2, 2, 2, 1."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ValueError(f"tasks per node {text!r}")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def split_addresses(text: str, source: str) -> list[str]:
    """Addresses of `host:port,host:port`; a UserError that names `source` where they cannot be."""
    addresses = [address.strip() for address in text.split(",")]
    _check_addresses(addresses, source)
    return addresses


def _check_addresses(workers: Sequence[str], source: str) -> None:
    for worker in workers:
        host, _, port = str(worker).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise UserError(f"{source}: {worker!r} is not host:port, such as node0:12345")
    if len(set(workers)) < len(workers):
        raise UserError(f"{source}: an address is twice in {','.join(workers)}")


def _check_index(index: int, workers: Sequence[str], source: str) -> None:
    if not 0 <= index < len(workers):
        raise UserError(
            f"{source} is {index}, with {len(workers)} workers: choose from 0 to {len(workers) - 1}"
        )


def _resolves(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        return bool(socket.getaddrinfo(host, int(port)))
    except OSError:
        return False


def _names_of_this_machine() -> set[str]:
    name = socket.gethostname()
    names = {name, name.partition(".")[0], socket.getfqdn()}
    with contextlib.suppress(OSError):  # a name that no server knows has no address to compare
        names |= set(socket.gethostbyname_ex(name)[2])
    return names
