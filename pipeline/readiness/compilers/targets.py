"""TPUs and GPUs that a step can be compiled for, with what their data sheets promise.

Nothing here imports TensorFlow or JAX.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from groundwork.errors import UserError

GPUS_OF_A_MACHINE = 8
"""Between machines a GPU's network is not on its data sheet, so nothing is said of more."""


@dataclass(frozen=True)
class GpuDevice:
    """What XLA is told of a GPU that is not there: the fields of its GpuTargetConfigProto."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    float32_lanes: int
    threads_per_multiprocessor: int
    shared_memory_per_multiprocessor: int
    shared_memory_per_block: int
    level2_cache: int
    clock_ghz: float


@dataclass(frozen=True)
class Target:
    """Chips of one kind that train together.

    Attributes:
        name: as `--compile` takes it, such as v5e-16.
        chips: replicas.
        memory_bytes: of a chip, as much as a program may use of it.
        bfloat16_flops: peak FLOP/s of a chip in dense half-precision products.
        float32_flops: of products of float32 numbers as TensorFlow does them by default: rounded to
            bfloat16 on a TPU, to TF32 on a GPU since Ampere.
        memory_bandwidth: bytes/s of a chip.
        interconnect_bandwidth: bytes/s that leave a chip for the others, over all its links.
        source: where the figures come from.
        has_bfloat16: whether the chip computes in it.
        topology: chips as JAX names them, such as v5e:4x4; of GPUs such as 1x1x8.
        gpu: the device's description; None: a TPU.
    """

    name: str
    chips: int
    memory_bytes: int
    bfloat16_flops: float
    float32_flops: float
    memory_bandwidth: float
    interconnect_bandwidth: float
    source: str
    has_bfloat16: bool = True
    topology: str = ""
    gpu: GpuDevice | None = None

    @property
    def platform(self) -> str:
        """Of the compiler: tpu or cuda."""
        return "tpu" if self.gpu is None else "cuda"

    @property
    def device(self) -> str:
        """TPU or GPU."""
        return "TPU" if self.gpu is None else "GPU"

    def topology_options(self) -> dict[str, str]:
        """What the compiler is told of the topology beside its name."""
        if self.gpu is not None:
            description = _gpu_target_config(self.gpu, self.memory_bytes, self.memory_bandwidth)
            return {"topology": self.topology, "target_config": description}
        # Both cores of a v4 as one device, as `TPUStrategy` has them.
        return {"chip_config_name": "megacore"} if self.name.startswith("v4") else {}

    def peak_flops(self, policy: str) -> float:
        """Of a chip that computes by a Keras dtype policy, in FLOP/s."""
        return self.float32_flops if policy == "float32" else self.bfloat16_flops


def find_target(name: str) -> Target:
    """The target `NAME` or `NAME-CHIPS`, such as h100, v5e-16 or v4-8.

    CHIPS are chips: Google Cloud's names of v4 and v5p slices count two cores for each. Of v3 they
    are cores, as in Google Cloud's names: each has a memory of its own, and is a replica.

    Raises:
        UserError: there is no such chip, or no such slice of them.
    """
    kind, dash, size = name.lower().replace("v5litepod", "v5e").partition("-")
    one = _CHIPS.get(kind)
    if one is None:
        raise UserError(f"--compile {name}: no such target: choose one of {', '.join(_CHIPS)}")
    chips = int(size) if size.isdigit() else (0 if dash else 1)
    slices = _slices(one)
    if chips not in slices:
        raise UserError(
            f"--compile {name}: no such slice: choose {kind} for one chip, or {kind}-CHIPS with "
            f"{', '.join(map(str, slices))}"
        )
    label = kind if chips == 1 else f"{kind}-{chips}"
    return replace(one, name=label, chips=chips, topology=slices[chips])


def target_names() -> tuple[str, ...]:
    """The chips, without their slices."""
    return tuple(_CHIPS)


def _gpu_target_config(gpu: GpuDevice, memory_bytes: int, memory_bandwidth: float) -> str:
    """Text form of the GpuTargetConfigProto that XLA compiles for."""
    major, minor = gpu.compute_capability
    return f"""
gpu_device_info {{
  name: "{gpu.name}"
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  core_count: {gpu.multiprocessors}
  fpus_per_core: {gpu.float32_lanes}
  clock_rate_ghz: {gpu.clock_ghz}
  device_memory_size: {memory_bytes}
  memory_bandwidth: {int(memory_bandwidth)}
  l2_cache_size: {gpu.level2_cache}
  shared_memory_per_core: {gpu.shared_memory_per_multiprocessor}
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {gpu.shared_memory_per_block}
  threads_per_core_limit: {gpu.threads_per_multiprocessor}
  threads_per_block_limit: 1024
  threads_per_warp: 32
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  driver_version: "12.8.0"
  runtime_version: "12.8.0"
  compile_time_toolkit_version: "12.8.0"
  dnn_version: "9.8.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
device_description_str: "{gpu.name}"
"""


def _slices(chip: Target) -> dict[int, str]:
    """Topology by number of chips. One chip is one of the smallest host that has several."""
    if chip.gpu is not None:
        return {count: f"1x1x{count}" for count in range(1, GPUS_OF_A_MACHINE + 1)}
    shapes = _SLICES[chip.name]
    return {count: f"{chip.name}:{shape}" for count, shape in shapes.items()}


_FLAT_SLICES = {
    # Google Cloud, "TPU v5e" and "TPU v6e": the topologies of a pod of 256.
    1: "2x2",
    4: "2x2",
    8: "2x4",
    16: "4x4",
    32: "4x8",
    64: "8x8",
    128: "8x16",
    256: "16x16",
}
_CUBIC_SLICES = {
    # Google Cloud, "TPU v4" and "TPU v5p".
    1: "2x2x1",
    4: "2x2x1",
    8: "2x2x2",
    16: "2x2x4",
    32: "2x4x4",
    64: "4x4x4",
    128: "4x4x8",
    256: "4x8x8",
    512: "8x8x8",
    1024: "8x8x16",
}
_SLICES_OF_CORES = {
    # Google Cloud, "TPU v3": chips of two cores.
    1: "2x2",
    8: "2x2",
    32: "4x4",
    64: "4x8",
    128: "8x8",
    256: "8x16",
    512: "16x16",
    1024: "16x32",
    2048: "32x32",
}
_SLICES = {
    "v3": _SLICES_OF_CORES,
    "v4": _CUBIC_SLICES,
    "v5e": _FLAT_SLICES,
    "v5p": _CUBIC_SLICES,
    "v6e": _FLAT_SLICES,
}


def _tpu(
    name: str, gibibytes: float, tflops: float, memory_gb: float, interconnect_gb: float
) -> Target:
    """Of a chip; `interconnect_gb` in one direction, of which the pages tell the two together."""
    return Target(
        name=name,
        chips=1,
        memory_bytes=int(gibibytes * 2**30),
        bfloat16_flops=tflops * 1e12,
        float32_flops=tflops * 1e12,
        memory_bandwidth=memory_gb * 1e9,
        interconnect_bandwidth=interconnect_gb * 1e9,
        source=f"Google Cloud documentation, TPU {name}",
    )


def _gpu(
    device: GpuDevice,
    memory_bytes: int,
    half_tflops: float,
    float32_tflops: float,
    memory_gb: float,
    interconnect_gb: float,
    source: str,
) -> Target:
    return Target(
        name=device.name,
        chips=1,
        memory_bytes=memory_bytes,
        bfloat16_flops=half_tflops * 1e12,
        float32_flops=float32_tflops * 1e12,
        memory_bandwidth=memory_gb * 1e9,
        interconnect_bandwidth=interconnect_gb * 1e9,
        source=source,
        has_bfloat16=device.compute_capability >= (8, 0),
        gpu=device,
    )


_HOPPER = GpuDevice(
    name="NVIDIA H100 80GB HBM3",
    compute_capability=(9, 0),
    multiprocessors=132,
    float32_lanes=128,
    threads_per_multiprocessor=2048,
    shared_memory_per_multiprocessor=233472,
    shared_memory_per_block=232448,
    level2_cache=50 * 2**20,
    clock_ghz=1.98,
)

_CHIPS = {
    # Memory as the runtime leaves it to a program. Interconnect of one direction: half of what the
    # pages call bidirectional (v5e 400, v5p 1200, v6e 800 GB/s; v4: 6 links of 50 GB/s each way).
    # v3: of a core, half a chip, which has 4 links of 70 GB/s (Jouppi et al., "TPU v4", 2023).
    "v3": _tpu("v3", 16, 61.5, 450, 140),
    "v4": _tpu("v4", 32, 275, 1228, 300),
    "v5e": _tpu("v5e", 15.75, 197, 819, 200),
    "v5p": _tpu("v5p", 95, 459, 2765, 600),
    "v6e": _tpu("v6e", 32, 918, 1638, 400),
    # Devices: NVIDIA's CUDA programming guide, technical specifications by compute capability, and
    # the sizes that XLA's own descriptions of A100, H100 and H200 have. NVLink and PCIe of one
    # direction: half of the data sheets'. Dense figures: half of those with sparsity.
    "a100": _gpu(
        GpuDevice(
            name="NVIDIA A100-SXM4-80GB",
            compute_capability=(8, 0),
            multiprocessors=108,
            float32_lanes=64,
            threads_per_multiprocessor=2048,
            shared_memory_per_multiprocessor=167936,
            shared_memory_per_block=166912,
            level2_cache=40 * 2**20,
            clock_ghz=1.41,
        ),
        85100068864,
        half_tflops=312,
        float32_tflops=156,
        memory_gb=2039,
        interconnect_gb=300,
        source="NVIDIA A100 data sheet, SXM 80 GB",
    ),
    "h100": _gpu(
        _HOPPER,
        84942979072,
        half_tflops=989,
        float32_tflops=494,
        memory_gb=3352,
        interconnect_gb=450,
        source="NVIDIA H100 data sheet, SXM",
    ),
    "h200": _gpu(
        replace(_HOPPER, name="NVIDIA H200 141GB HBM3e"),
        151397597184,
        half_tflops=989,
        float32_tflops=494,
        memory_gb=4800,
        interconnect_gb=450,
        source="NVIDIA H200 data sheet, SXM",
    ),
    "l4": _gpu(
        GpuDevice(
            name="NVIDIA L4",
            compute_capability=(8, 9),
            multiprocessors=58,
            float32_lanes=128,
            threads_per_multiprocessor=1536,
            shared_memory_per_multiprocessor=102400,
            shared_memory_per_block=101376,
            level2_cache=48 * 2**20,
            clock_ghz=2.04,
        ),
        23034 * 2**20,
        half_tflops=121,
        float32_tflops=60,
        memory_gb=300,
        interconnect_gb=32,
        source="NVIDIA L4 data sheet, PCIe 4.0",
    ),
    "t4": _gpu(
        GpuDevice(
            name="Tesla T4",
            compute_capability=(7, 5),
            multiprocessors=40,
            float32_lanes=64,
            threads_per_multiprocessor=1024,
            shared_memory_per_multiprocessor=65536,
            shared_memory_per_block=65536,
            level2_cache=4 * 2**20,
            clock_ghz=1.59,
        ),
        15360 * 2**20,
        half_tflops=65,
        float32_tflops=8.1,
        memory_gb=320,
        interconnect_gb=16,
        source="NVIDIA T4 data sheet, PCIe 3.0",
    ),
}
