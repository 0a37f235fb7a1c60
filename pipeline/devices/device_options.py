"""Options that say what a run computes on, and in which type."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True)
class DeviceOptions:
    """Strategy, workers, TPU, precision and compiler."""

    strategy: Literal["auto", "default", "mirrored", "multi_worker", "tpu"] = "auto"
    """Strategy of `tf.distribute`. auto: multi_worker where `workers`, TF_CONFIG or a Slurm step
    name several, tpu on a TPU host, mirrored over several GPUs, otherwise default (one device)."""
    workers: str | None = None
    """Addresses of the processes that train together, as host:port,host:port, the same for each;
    the first is the chief. null: those of TF_CONFIG, or the tasks of the Slurm step."""
    worker_index: int | None = None
    """Place of this process in `workers`, from 0; null: that of this machine's name."""
    tpu: str = "local"
    """TPU name or grpc:// address; local: the TPU of this VM."""
    tpu_zone: str | None = None
    """Google Cloud zone of the named TPU; null: that of this VM."""
    tpu_project: str | None = None
    """Google Cloud project of the named TPU; null: that of this VM."""
    precision: Literal["auto", "float32", "bfloat16", "bfloat16_products", "float16"] = "auto"
    """Compute type. auto: bfloat16 on TPUs and on GPUs that have it, otherwise float32.
    bfloat16_products: only the patch embedding, attention and MLPs, between them norms and the
    residual stream in float32, as big_vision on TPUs. float16 is for older GPUs: the loss is scaled
    dynamically. Weights are float32 always."""
    jit_compile: Literal["auto", "true", "false"] = "auto"
    """Compile the step with XLA; of several replicas, what comes before and after their sum. auto:
    on TPUs and GPUs, not on CPUs."""
