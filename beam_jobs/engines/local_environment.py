"""What tells Beam's runner to get its workers from `local_worker`."""

from __future__ import annotations

import json
import os
from typing import Any

from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.transforms import environments
from google.protobuf import json_format

URN = "beam:env:beam_jobs_local_worker:v1"
"""The prefix is what Beam knows an environment by."""


@environments.Environment.register_urn(URN, bytes)
class LocalEnvironment(environments.Environment):
    """Worker processes on this machine.

    Args:
        stdin: file descriptor, of this process, of the stdin of `local_worker`.
    """

    def __init__(self, stdin: int) -> None:
        super().__init__(capabilities=environments.python_sdk_capabilities())
        self.stdin = stdin

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        """As the pipeline carries it."""
        return URN, str(self.stdin).encode()

    @staticmethod
    def from_runner_api_parameter(payload: bytes, *_: Any) -> LocalEnvironment:
        """As the pipeline carried it."""
        return LocalEnvironment(int(payload))

    @classmethod
    def from_options(cls, options: PortableOptions) -> LocalEnvironment:
        """From --environment_config, for the portable runner."""
        return cls(int(options.environment_config))


@worker_handlers.WorkerHandler.register_environment(URN, bytes)
class _Handler(worker_handlers.GrpcWorkerHandler):
    """One worker, which `local_worker` forks."""

    def __init__(self, payload: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._stdin = int(payload)

    def start_worker(self) -> None:
        """Ask for a worker."""
        options = self.provision_info.provision_info.pipeline_options
        variables = {
            "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "{self.control_address}"',
            "PIPELINE_OPTIONS": json_format.MessageToJson(options),
            "WORKER_ID": self.worker_id,
        }
        line = memoryview(json.dumps(variables).encode() + b"\n")
        try:
            while line:
                line = line[os.write(self._stdin, line) :]
        except BrokenPipeError:  # it ended; `engine` says so
            pass

    def stop_worker(self) -> None:
        """The worker ends with its connection."""
