"""One server of a tf.data service that decodes for others.

`python -m pipeline.data_service --help`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from groundwork import command_line
from pipeline.devices.cluster import find_cluster, split_addresses
from pipeline.process.loopback import is_loopback, keep_for_this_machine
from pipeline.process.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.data_service"


@dataclass
class DataServiceConfig:
    """Start one server of a tf.data service, for the run's option data.service: one dispatcher,
    and workers on machines with CPUs to spare. Give all the same addresses. The workers read the
    dataset under the same path as the run. With loopback addresses (localhost, 127.0.0.1) only
    this machine reaches the server. TensorFlow offers neither TLS nor passwords for it: with other
    addresses who reaches the port can read and write files as this user, so give it a network of
    its own. Ends on Ctrl-C, SIGTERM or SIGHUP."""

    role: Literal["dispatcher", "worker"]
    """What this process is."""
    dispatcher: str
    """Address, host:port, of the dispatcher."""
    workers: str
    """Addresses, host:port,host:port, of all workers: which batches a worker makes follows from its
    place."""
    worker_index: int | None = None
    """Place of this worker in `workers`, from 0; null: that of this machine's name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 once it was told to end."""
    config = command_line.parse(DataServiceConfig, argv, prog=PROG)
    split_addresses(config.dispatcher, "--dispatcher")
    workers = split_addresses(config.workers, "--workers")
    own = config.dispatcher
    if config.role == "worker":
        cluster = find_cluster(config.workers, config.worker_index, {})
        assert cluster is not None
        own = cluster.workers[cluster.index]
    import_tensorflow()
    from tensorflow.data.experimental import service

    port = int(own.rpartition(":")[2])
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    if config.role == "dispatcher":
        server = service.DispatchServer(
            service.DispatcherConfig(port=port, worker_addresses=workers)
        )
    else:
        server = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=config.dispatcher, worker_address=own, port=port
            )
        )
    private = is_loopback(own.rpartition(":")[0]) and keep_for_this_machine(port)
    print(f"{config.role} at {own}, of {len(workers)} workers; {_reach(port, private)}", flush=True)
    ended.wait()
    del server
    return 0


def _reach(port: int, private: bool) -> str:
    if private:
        return "open to this machine alone"
    return (
        f"warning: port {port} of all addresses of this machine is open, without TLS or password: "
        "who reaches it can read and write files as this user. Close it to all but the hosts of "
        "the run, by a firewall or a network of its own"
    )


if __name__ == "__main__":
    command_line.run_main(main)
