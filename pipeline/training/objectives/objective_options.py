"""Options of what a run learns."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class MaskedPatchesConfig:
    """Masked patch prediction, where it is the objective."""

    target: Literal["mean_color", "downsampled", "pixels"] = "mean_color"
    """What is predicted of a corrupted patch: its mean color, one of 512; the colors of its 4×4
    parts; or all pixels, by L2 regression."""
    mask_ratio: float = 0.5
    """Share of the patches that is corrupted, in (0, 1)."""


@dataclass
class MaskedAutoencoderConfig:
    """Masked autoencoder (MAE, arXiv 2111.06377), where it is the objective."""

    mask_ratio: float = 0.75
    """Share of the patches that the encoder does not see, in (0, 1)."""
    decoder_width: int = 512
    """Channels of the decoder's tokens."""
    decoder_layers: int = 8
    """Blocks of the decoder."""
    decoder_heads: int = 16
    """Attention heads of the decoder."""
    normalize_pixels: bool = True
    """Predict the pixels of each patch brought to mean 0 and variance 1."""


@dataclass
class DistillationConfig:
    """Learning from the answers of another model to the same images."""

    teacher: str
    """What answers: an export, a workdir, a file of weights or a name such as hf://timm/NAME,
    trained by softmax on the same classes. It sees each view at its own image size. preflight does
    not count its memory."""
    kind: Literal["soft", "hard"] = "soft"
    """Learn the teacher's probabilities, or the class that it chooses."""
    weight: float = 1.0
    """Share of the loss that the teacher has, in (0, 1]; the labels have the rest. 1: function
    matching, of "A good and patient teacher" (arXiv 2106.05237)."""
    temperature: float = 1.0
    """Of soft distillation: divides the logits of both."""


@dataclass(kw_only=True)
class ObjectiveOptions:
    """What is learned, and its loss."""

    objective: Literal["classify", "multi_label", "masked_patches", "masked_autoencoder"] = (
        "classify"
    )
    """What is learned: the label of an image; any number of labels, by a sigmoid for each class
    (build_dataset --multi_label); or, without labels, what is in corrupted patches (paper, appendix
    B.1.2) or in patches that the encoder does not see (MAE). The export of the latter two is the
    encoder under a head of zeros, for fine-tuning."""
    masked_patches: MaskedPatchesConfig = field(default_factory=MaskedPatchesConfig)
    masked_autoencoder: MaskedAutoencoderConfig = field(default_factory=MaskedAutoencoderConfig)
    patch_sizes: list[int] | None = None
    """FlexiViT (arXiv 2212.08013): each step trains at one of these patch sizes, in pixels, drawn
    from seed and step; each is compiled. Weights, evaluation and export have the model's own, and
    `python -m pipeline.export --patch_size` exports another. null: the model's own alone."""
    loss: Literal["softmax", "sigmoid"] = "softmax"
    """Softmax, or per-class sigmoid, cross-entropy; of multi_label always the latter."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes, in [0, 1)."""
    mixed_labels: Literal["shares", "whole"] = "shares"
    """MixUp and CutMix: each label of a mixed image counts by its share of the image; or both count
    whole, with loss sigmoid: the binary cross-entropy of DeiT III (arXiv 2204.07118) and timm."""
    class_weights: Literal["none", "auto"] | dict[str, float] = "none"
    """Weight of each class in the training loss: of its examples; of multi_label, of its sigmoid.
    auto: in inverse proportion to the frequency of the class, 1 on average over the labels, which
    are counted once in the training split. Or weights by name, such as '{cat: 2, dog: 0.5}', 1 for
    the others."""
    distillation: DistillationConfig | None = None
    """Distillation of a teacher; null: none."""

    @property
    def reads_labels(self) -> bool:
        """Whether the objective needs labels."""
        return self.objective in ("classify", "multi_label")

    @property
    def multi_label(self) -> bool | None:
        """Whether an image has any number of labels; None: none is read."""
        return self.objective == "multi_label" if self.reads_labels else None

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """What makes probabilities of the logits."""
        return "sigmoid" if self.objective == "multi_label" else self.loss
