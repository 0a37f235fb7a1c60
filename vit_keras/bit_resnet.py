"""BiT: the ResNets that the paper compares with, and their kin with attention inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.image_classifier import ImageClassifier, check_at_least
from vit_keras.layers.normalization import group_norm
from vit_keras.layers.preactivation_unit import (
    BIT_CONV,
    BIT_NORM_EPSILON,
    CONV_EPSILON,
    Mixer,
    PreactivationUnit,
)
from vit_keras.layers.resnet_stem import BOTTLENECK, halved
from vit_keras.layers.resnet_width import scaled_channels
from vit_keras.layers.std_conv import StdConv, pad_fixed


@keras.saving.register_keras_serializable("vit_keras")
class BiTResNet(ImageClassifier):
    """ResNetV2 with group norm and weight standardization (BiT, arXiv 1912.11370, section 3.2).

    `vit_keras.create_model("BiT-R50x1", ...)` fills in the sizes of a named variant.

    Args:
        image_size: height and width in pixels; one number: both. Without attention the model
            takes images of any size, this is the one it is built for.
        units: residual units of each stage.
        width_factor: multiplies all channels, 64 in the first stage.
        num_classes: classes of the head; None: no head, the model returns its features.
        mixers: the middle layer of each stage's units, "conv", "axial" or "attention"; one per
            stage. None: convolutions throughout.
        conv_epsilon: added to the variance of a convolution's kernel: the official code's, or
            1e-8 (timm, Hugging Face).
        head_bias_init: initial bias of the head.
        **kwargs: `preprocessing` and `class_names` (see `ImageClassifier`); `dtype`.

    Input: `[batch, height, width, 3]` float32, in [-1, 1] unless `preprocessing` says otherwise;
    output: `[batch, num_classes]` float32.

    Raises:
        ValueError: not one mixer per stage, or channels that are no multiple of group norm's
            groups.
    """

    def __init__(
        self,
        *,
        image_size: int | tuple[int, int],
        units: Sequence[int],
        width_factor: float,
        num_classes: int | None,
        mixers: Sequence[Mixer] | None = None,
        conv_epsilon: float = CONV_EPSILON,
        head_bias_init: float = 0.0,
        name: str = "bit",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_size=image_size,
            num_classes=num_classes,
            head_bias_init=head_bias_init,
            name=name,
            **kwargs,
        )
        self.units = tuple(units)
        check_at_least(1, stages=len(self.units), units=min(self.units, default=None))
        self.width_factor = width_factor
        self.conv_epsilon = conv_epsilon
        convolutions: tuple[Mixer, ...] = tuple("conv" for _ in self.units)
        self.mixers = convolutions if mixers is None else tuple(mixers)
        if len(self.mixers) != len(self.units):
            raise ValueError(f"{len(self.units)} stages need as many mixers; got {self.mixers}.")
        channels = scaled_channels(width_factor)
        policy = self.dtype_policy
        self.root_conv = StdConv(
            channels, 7, 2, **BIT_CONV, epsilon=conv_epsilon, name="root_conv", dtype=policy
        )
        self.residual_units = [
            PreactivationUnit(
                channels * 2**stage,
                strides=2 if stage > 0 and unit == 0 else 1,
                mixer=mixer,
                conv_epsilon=conv_epsilon,
                name=f"block{stage + 1}_unit{unit + 1:02d}",
                dtype=policy,
            )
            for stage, (count, mixer) in enumerate(zip(self.units, self.mixers, strict=True))
            for unit in range(count)
        ]
        self.final_norm = group_norm("final_norm", policy, epsilon=BIT_NORM_EPSILON)
        self.finish()

    def build_backbone(self, input_shape: tuple[int | None, ...]) -> None:
        self.root_conv.build(input_shape)
        shape = self.root_conv.compute_output_shape(input_shape)
        shape = halved(shape)
        for unit in self.residual_units:
            unit.build(shape)
            shape = unit.compute_output_shape(shape)
        self.final_norm.build(shape)

    @property
    def feature_dim(self) -> int:
        return scaled_channels(self.width_factor) * BOTTLENECK << (len(self.units) - 1)

    @property
    def has_noise(self) -> bool:
        return False

    def backbone(self, images: Any, training: bool | None, seeds: Any) -> Any:
        return ops.mean(self.feature_map(images), axis=(1, 2))

    def feature_map(self, images: Any) -> Any:
        """What is averaged to the features: `[batch, rows, columns, feature_dim]` float32."""
        x = self.root_conv(images)
        # The root pads with zeros before pooling, not with -inf as max pooling's own padding.
        x = ops.max_pool(pad_fixed(x, 3), 3, 2, "valid", data_format="channels_last")
        for unit in self.residual_units:
            x = unit(x)
        return ops.cast(ops.relu(self.final_norm(x)), self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": list(self.units),
            "width_factor": self.width_factor,
            "mixers": list(self.mixers),
            "conv_epsilon": self.conv_epsilon,
        }
