"""Options of the global batch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True)
class BatchOptions:
    """The global batch, and how replicas share it."""

    batch_size: int = 1024
    """Images in a global batch: over all replicas and accumulation steps."""
    accumulate: int = 1
    """Microbatches that each replica splits its share of the batch into, to save memory."""
    eval_batch_size: int | None = None
    """Images in a global evaluation batch; null: `batch_size`."""
    sum_precision: Literal["float32", "bfloat16"] = "float32"
    """Type in which several replicas sum their gradients. bfloat16 halves what goes over the
    network, and rounds what each replica gives, and each sum on the way, to 8 bits."""
