"""Options of the model."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class ModelConfig:
    """The model: a variant by name, and what differs from it.

    An option that is not given is the variant's own; one that its family does not have (dropout of
    a ResNet, say) is an error.
    """

    variant: str = "S/16"
    """Size and patch, such as Ti/16, S/32, B/16, L/16 or H/14; a hybrid, such as R50+B/16;
    Axial-B/32; a ResNet, such as BiT-R50x1, AxialResNet-50 or BoTNet-50. Or what
    `init_from` takes: its architecture."""
    num_layers: int | None = None
    """ViT: encoder blocks, where it differs from the variant's."""
    width: int | None = None
    """ViT: channels of a token, where it differs from the variant's."""
    mlp_dim: int | None = None
    """ViT: hidden width of the MLP, where it differs from the variant's."""
    num_heads: int | None = None
    """ViT: attention heads, where they differ from the variant's."""
    patch_size: int | None = None
    """ViT: side of a patch, where it differs from the variant's; of a hybrid, in cells of the
    stem's feature map."""
    stem_units: list[int] | None = None
    """Hybrid: residual units of each stage of the stem, where they differ from the variant's. They
    make a hybrid of a plain ViT too. Each stage after the first halves the feature map, which
    begins at a quarter of the image."""
    stem_width_factor: float | None = None
    """Hybrid: multiplies the stem's channels, 64 in its first stage; they are a multiple of 32."""
    units: list[int] | None = None
    """ResNet: residual units of each stage, where they differ from the variant's."""
    width_factor: float | None = None
    """ResNet: multiplies the channels, 64 in the first stage, where it differs from the variant's;
    they are a multiple of 32."""
    mixers: list[Literal["conv", "axial", "attention"]] | None = None
    """ResNet: the middle layer of each stage's units, one for each stage: a 3×3 convolution, axial
    attention or attention over the whole map. null: the variant's."""
    classifier: Literal["token", "gap", "map"] | None = None
    """ViT: what the head reads: the class token, the mean over the patches' tokens, or attention
    pooling. null: the class token, but the mean for Axial-ViT."""
    representation_size: int | None = None
    """ViT: width of the tanh pre-logits layer before the head; null: none."""
    position_embedding: (
        Literal["learned_1d", "learned_2d", "sincos_2d", "relative", "none"] | None
    ) = None
    """ViT: learned_1d (the paper's), learned_2d, sincos_2d (fixed), relative (in the attention) or
    none. null: learned_1d."""
    position_place: Literal["stem", "every_layer", "shared"] | None = None
    """ViT: positions come in before the first block (relative: in it), in each block with weights
    of its own, or in each with the same. null: stem; relative: every_layer."""
    class_token_positioned: bool | None = None
    """ViT: whether the class token has a learned_1d position too. null: true, as in the paper;
    false is big_vision's way."""
    num_registers: int | None = None
    """ViT: register tokens beside the patches; null: none."""
    qk_norm: bool | None = None
    """ViT: layer norm over each head's query and key; null: false."""
    rope: Literal["normalized", "grid"] | None = None
    """ViT: rotary position embedding of query and key, beside `position_embedding`, with normalized
    coordinates (DINOv3) or numbers on a grid (EVA-02); null: none."""
    activation: Literal["gelu_tanh", "gelu", "quick_gelu", "silu"] | None = None
    """ViT: activation of the MLP; null: gelu_tanh, the official code's."""
    gated_mlp: bool | None = None
    """ViT: MLP whose hidden layer is the product of two, one of them activated: SwiGLU with silu;
    null: false."""
    norm: Literal["layer_norm", "rms_norm"] | None = None
    """ViT: kind of all norms over tokens; null: layer_norm."""
    qkv_bias: bool | None = None
    """ViT: whether query, key and value have a bias; null: true."""
    layer_scale_init: float | None = None
    """ViT: initial value of LayerScale on both branches of a block; null: no LayerScale."""
    dropout_rate: float | None = None
    """ViT: dropout after the position embedding and in each block, in [0, 1); null: 0."""
    stochastic_depth_rate: float | None = None
    """ViT: rate at which the last block is left out, in [0, 1), falling to 0 at the first;
    null: 0."""
    remat: bool | None = None
    """ViT: compute each block again in the backward pass instead of keeping its activations: less
    memory, about a third more time. null: false."""
    frozen_blocks: int | None = None
    """ViT, for fine-tuning: so many of the first encoder blocks stay as they are, with all that
    stands before them; as many as there are: all but the head stays. null: all is trained."""
    lora_rank: int | None = None
    """ViT, for fine-tuning: train, beside the head, LoRA of this rank in the blocks' products
    (arXiv 2106.09685), such as 8; all else stays as it is. Exports have it merged. null: none."""
    head_bias_init: float = 0.0
    """Initial bias of the head; -10 with the sigmoid loss over many classes."""
