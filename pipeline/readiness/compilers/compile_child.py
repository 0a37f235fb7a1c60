"""Compile a program for a TPU or GPU that is not here; run as a process of its own.

    python -m pipeline.readiness.compilers.compile_child FOLDER

FOLDER holds `program` (a serialized HloModuleProto, or StableHLO as text or bytecode) and
`request.json` (see `Request`); it gets `answer.json`, with the figures or with the `error` of the
compiler, and `program.txt`, the optimized HLO, or what was refused. TensorFlow is not imported.
This file alone reaches into JAX's private modules, so JAX and the plugins are pinned: `VERSIONS`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TypedDict

VERSIONS = {
    # What `pip install '.[aot]'` brings; of CUDA itself nothing is needed.
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "libtpu": "0.0.52",
    "jax-cuda12-plugin": "0.10.2",
    "jax-cuda12-pjrt": "0.10.2",
}
GPU_FLAGS = (
    # No GPU is there to time kernels on, and Triton's products need such timings for their tiles.
    "--xla_gpu_autotune_level=0",
    "--xla_gpu_enable_triton_gemm=false",
)


class Request(TypedDict):
    """What to compile for.

    Attributes:
        platform: tpu or cuda.
        topology: name of the topology, such as v5e:4x4.
        options: of the topology.
        replicas: that run the program.
        stablehlo: whether the program is StableHLO, otherwise HLO.
    """

    platform: str
    topology: str
    options: dict[str, str]
    replicas: int
    stablehlo: bool


class Answer(TypedDict, total=False):
    """What the compiler says of the program on one chip, all in bytes, FLOPs or seconds.

    Attributes:
        error: why it refuses; then there is nothing else.
        argument_bytes: as laid out on the chip, with what its tiles pad.
        output_bytes: likewise.
        alias_bytes: of outputs that lie in the place of an argument.
        temporary_bytes: activations, gradients and all else while it runs.
        code_bytes: of the program itself, where it lies in the same memory.
        flops: of the program before it was optimized; of a loop, those of one turn.
        compiler_flops: of the optimized program, and
        compiler_bytes_accessed: by the compiler itself; left out where it does not count them.
        compile_seconds: of the compiler alone.
    """

    error: str
    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    temporary_bytes: int
    code_bytes: int
    flops: float
    compiler_flops: float
    compiler_bytes_accessed: float
    compile_seconds: float


def main(folder: Path) -> None:
    """Answer the request in `folder`."""
    request: Request = json.loads((folder / "request.json").read_text())
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    # No chip is touched, so others may compile, or train on one, at the same time.
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    os.environ["XLA_FLAGS"] = " ".join(GPU_FLAGS) if request["platform"] == "cuda" else ""
    answer, text = _compile(request, (folder / "program").read_bytes())
    (folder / "program.txt").write_text(text)
    (folder / "answer.json").write_text(json.dumps(answer))


def _compile(request: Request, program: bytes) -> tuple[Answer, str]:
    import jax
    import numpy as np
    from jax._src import compiler, xla_bridge
    from jax._src.interpreters import mlir
    from jax.experimental import topologies
    from jaxlib import _jax
    from jaxlib.mlir import ir

    topology = topologies.get_topology_desc(
        request["topology"], platform=request["platform"], **request["options"]
    )
    devices: list[Any] = topology.devices[: request["replicas"]]
    with mlir.make_ir_context():
        text = program if request["stablehlo"] else _jax.mlir.hlo_to_stablehlo(program)
        module = ir.Module.parse(text)
        _drop_copies(module)
        before = _jax.mlir.mlir_module_to_xla_computation(
            module.operation.get_asm(enable_debug_info=True),
            use_tuple_args=False,
            return_tuple=False,
        ).get_hlo_module()
        options = compiler.get_compile_options(
            num_replicas=request["replicas"],
            num_partitions=1,
            device_assignment=np.array([device.id for device in devices]),
        )
        options.executable_build_options.use_spmd_partitioning = False
        options.executable_build_options.use_shardy_partitioner = False
        started = time.monotonic()
        try:
            executable = devices[0].client.compile(module, _jax.DeviceList(tuple(devices)), options)
        except jax.errors.JaxRuntimeError as error:
            return {"error": str(error)}, before.to_string()
        seconds = time.monotonic() - started
    memory = executable.get_compiled_memory_stats()
    cpu = xla_bridge.get_backend("cpu")
    answer: Answer = {
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "alias_bytes": memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "code_bytes": memory.generated_code_size_in_bytes,
        "flops": _jax.hlo_module_cost_analysis(cpu, before)["flops"],
        "compile_seconds": seconds,
    }
    if request["platform"] == "tpu":  # the GPU's compiler does not count
        cost = executable.cost_analysis()
        answer["compiler_flops"] = cost["flops"]
        answer["compiler_bytes_accessed"] = cost["bytes accessed"]
    return answer, executable.hlo_modules()[0].to_string()


def _drop_copies(module: Any) -> None:
    """Take out `mhlo.copy`, an identity that the compilers' readers do not know."""
    from jaxlib.mlir import ir

    copies = []

    def collect(operation: Any) -> Any:
        if operation.name == "mhlo.copy":
            copies.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    for copy in copies:
        copy.results[0].replace_all_uses_with(copy.operands[0])
        copy.erase()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
