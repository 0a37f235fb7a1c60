"""Options of the optimizer, its schedule and clipping."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class OptimConfig:
    """The optimizer, its schedule and clipping."""

    optimizer: str = "adamw"
    """Rule of the update: adamw; sgd with momentum, as the paper fine-tunes; adafactor as in
    scaling ViT (arXiv 2106.04560), which keeps nearly no second moment; lamb as DeiT III;
    schedule_free_adamw, for decay=constant (arXiv 2405.15682); or one of Keras by its name there,
    such as keras.Muon (for the kernels of the blocks; AdamW for the rest) or keras.Lion."""
    keras_options: dict[str, bool | int | float | None] = field(default_factory=dict)
    """Arguments of an optimizer of Keras, such as {adam_beta_2: 0.95}; what is left out is Keras'
    own default. Rates, weight decay, clipping and averages are the options here."""
    peak_lr: float = 1e-3
    """Learning rate at the end of warm-up."""
    warmup_steps: int = 10_000
    """Steps of linear warm-up from 0."""
    decay: Literal["cosine", "linear", "rsqrt", "constant"] = "cosine"
    """Shape of the learning rate after warm-up. rsqrt: peak_lr over the root of
    1 + steps since warm-up / `rsqrt_timescale`."""
    end_lr: float = 0.0
    """Learning rate at the last step (cosine and linear)."""
    rsqrt_timescale: int = 10_000
    """Steps after warm-up at which rsqrt has fallen to 71 % of `peak_lr`."""
    head_first_steps: int = 0
    """Fine-tuning: first steps in which the head alone learns, at ten times `peak_lr`; warm-up and
    decay follow (linear probing, then fine-tuning: arXiv 2202.10054)."""
    cooldown_steps: int = 0
    """Last steps, over which the learning rate falls linearly to 0, whatever its decay."""
    momentum: float = 0.9
    """Share of the last update that sgd and adafactor carry on, in [0, 1)."""
    beta1: float = 0.9
    """Decay of the first moment of adamw and lamb; share of the mean that schedule_free_adamw
    trains at."""
    beta2: float = 0.999
    """Decay of the second moment of adamw, lamb and schedule_free_adamw."""
    epsilon: float = 1e-8
    """Number that these add to the root of the second moment."""
    moment_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type in which the first moment, or momentum, is stored; it is computed in float32. bfloat16
    saves 2 bytes per weight."""
    weight_decay: float = 0.0
    """Decoupled, multiplied by the learning rate, on kernels only (Table 3 of the paper: 0.03 to
    0.3)."""
    head_weight_decay: float | None = None
    """That of the head's kernel, where it differs (ViT-g: 3.0, against 0.03 of the body)."""
    layer_decay: float | None = None
    """Fine-tuning: factor in (0, 1] by which the learning rate falls from encoder block to block,
    from the head down to the patch embedding, such as 0.75; null: the same rate everywhere."""
    clip_norm: float | None = 1.0
    """Largest global norm of the gradient of the whole global batch; null: no clipping."""
    sam_rho: float | None = None
    """Sharpness-aware minimization (arXiv 2106.01548): the gradient is that at the weights moved by
    this distance to where the loss is higher, such as 0.2. Each step takes twice the time. null:
    off."""
