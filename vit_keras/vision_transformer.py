"""The Vision Transformer, its hybrids and its ablations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from vit_keras.image_classifier import ImageClassifier, check_at_least
from vit_keras.layers.attention_pooling import AttentionPooling
from vit_keras.layers.axial_block import AxialBlock
from vit_keras.layers.class_token import PrependTokens
from vit_keras.layers.dropout import Dropout
from vit_keras.layers.encoder_block import EncoderBlock
from vit_keras.layers.noise import fold_in
from vit_keras.layers.normalization import layer_norm
from vit_keras.layers.patch_embedding import PatchEmbedding, patch_grid
from vit_keras.layers.position_embedding import POSITION_EMBEDDINGS
from vit_keras.layers.relative_position import RelativePositionEmbedding
from vit_keras.layers.resnet_stem import ResNetStem, num_halvings

Classifier = Literal["token", "gap", "map"]
PositionEmbedding = Literal["learned_1d", "learned_2d", "sincos_2d", "relative", "none"]
PositionPlace = Literal["stem", "every_layer", "shared"]


@keras.saving.register_keras_serializable("vit_keras")
class VisionTransformer(ImageClassifier):
    """ViT: patches, position embedding, pre-norm encoder, head (arXiv 2010.11929, section 3.1).

    `vit_keras.create_model("B/16", ...)` fills in the sizes of a named variant.

    Args:
        image_size: height and width in pixels, multiples of the patch in pixels; one number: both.
        patch_size: side of a patch, in pixels, or in cells of the stem's feature map.
        num_layers: encoder blocks.
        width: channels of a token; a multiple of `num_heads`.
        mlp_dim: hidden channels of each MLP.
        num_heads: attention heads.
        num_classes: classes of the head; None: no head, the model returns its features.
        classifier: what the head reads: "token", the class token; "gap", the mean over the
            patches' tokens; "map", attention pooling. Only "token" has a class token.
        representation_size: width of a dense tanh layer before the head ("pre-logits"); None:
            none, as in every fine-tuned checkpoint.
        position_embedding: "learned_1d" (the paper's), "learned_2d", "sincos_2d" (fixed),
            "relative" or "none" (appendix D.4).
        position_place: "stem": added once, before the first block; "every_layer": each block adds
            its own; "shared": each block adds the same (Table 8). Relative embeddings act in the
            attention: in that of the first block alone, of each, or shared by all. None: "stem",
            but "every_layer" for relative embeddings.
        class_token_positioned: whether the class token has a learned 1-D position too, as in the
            official code; False is big_vision's way. The other embeddings never give it one.
        num_registers: register tokens beside the patches ("Vision Transformers Need Registers").
        qk_norm: layer norm over each head's query and key.
        layer_scale_init: initial value of LayerScale; None: no LayerScale.
        dropout_rate: after the position embedding and in each block, in [0, 1).
        stochastic_depth_rate: rate of the last block, in [0, 1); the first has 0 and the others
            lie on a line between (AugReg, section 3.3).
        stem_units: residual units per stage of a ResNet stem (a hybrid); None: no stem.
        stem_width_factor: multiplies the channels of that stem, 64 in its first stage.
        axial: blocks attend along rows, then along columns (Axial-ViT, appendix D.5).
        remat: compute each block again in the backward pass instead of keeping its activations:
            less memory for about a third more time.
        head_bias_init: initial bias of the head.

    Input: `[batch, height, width, 3]` float32 in [-1, 1]; output: `[batch, num_classes]` float32.

    Raises:
        ValueError: a size that does not divide as it must (the message gives the nearest that
            does), an unknown choice, or choices that exclude each other.
    """

    def __init__(
        self,
        *,
        image_size: int | tuple[int, int],
        patch_size: int,
        num_layers: int,
        width: int,
        mlp_dim: int,
        num_heads: int,
        num_classes: int | None,
        classifier: Classifier = "token",
        representation_size: int | None = None,
        position_embedding: PositionEmbedding = "learned_1d",
        position_place: PositionPlace | None = None,
        class_token_positioned: bool = True,
        num_registers: int = 0,
        qk_norm: bool = False,
        layer_scale_init: float | None = None,
        dropout_rate: float = 0.0,
        stochastic_depth_rate: float = 0.0,
        stem_units: Sequence[int] | None = None,
        stem_width_factor: float = 1,
        axial: bool = False,
        remat: bool = False,
        head_bias_init: float = 0.0,
        name: str = "vit",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_size=image_size,
            num_classes=num_classes,
            head_bias_init=head_bias_init,
            name=name,
            **kwargs,
        )
        self.patch_size = patch_size
        self.num_layers = num_layers
        self.width = width
        self.mlp_dim = mlp_dim
        self.num_heads = num_heads
        self.classifier = classifier
        self.representation_size = representation_size
        self.position_embedding = position_embedding
        self.position_place = position_place or (
            "every_layer" if position_embedding == "relative" else "stem"
        )
        self.class_token_positioned = class_token_positioned
        self.num_registers = num_registers
        self.qk_norm = qk_norm
        self.layer_scale_init = layer_scale_init
        self.dropout_rate = dropout_rate
        self.stochastic_depth_rate = stochastic_depth_rate
        self.stem_units = None if stem_units is None else tuple(stem_units)
        self.stem_width_factor = stem_width_factor
        self.axial = axial
        self.remat = remat
        self._check_choices()

        policy = self.dtype_policy
        self.stem = (
            None
            if self.stem_units is None
            else ResNetStem(self.stem_units, stem_width_factor, name="stem", dtype=policy)
        )
        self.patch_embedding = PatchEmbedding(
            patch_size, width, name="patch_embedding", dtype=policy
        )
        self.class_token = (
            PrependTokens(name="class_token", dtype=policy) if classifier == "token" else None
        )
        self.registers = (
            PrependTokens(num_registers, initial_stddev=0.02, name="registers", dtype=policy)
            if num_registers
            else None
        )
        self.positions = self._make_positions()
        self.embedding_dropout = Dropout(dropout_rate, name="embedding_dropout", dtype=policy)
        self.blocks = [self._make_block(i) for i in range(num_layers)]
        self.encoder_norm = layer_norm("encoder_norm", policy)
        self.attention_pooling = (
            AttentionPooling(mlp_dim, num_heads, name="attention_pooling", dtype=policy)
            if classifier == "map"
            else None
        )
        self.pre_logits = (
            None
            if representation_size is None
            else keras.layers.Dense(
                representation_size,
                activation="tanh",
                kernel_initializer=keras.initializers.LecunNormal(),
                name="pre_logits",
                dtype=policy,
            )
        )
        self.finish()

    def _check_choices(self) -> None:
        check_at_least(
            1,
            patch_size=self.patch_size,
            num_layers=self.num_layers,
            width=self.width,
            mlp_dim=self.mlp_dim,
            num_heads=self.num_heads,
            representation_size=self.representation_size,
        )
        check_at_least(0, num_registers=self.num_registers)
        check_at_least(1, stem_units=min(self.stem_units or (), default=None))
        for argument, value, choices in (
            ("classifier", self.classifier, ("token", "gap", "map")),
            (
                "position_embedding",
                self.position_embedding,
                (*POSITION_EMBEDDINGS, "relative", "none"),
            ),
            ("position_place", self.position_place, ("stem", "every_layer", "shared")),
        ):
            if value not in choices:
                raise ValueError(f"{argument} must be one of {', '.join(choices)}; got {value!r}.")
        if self.stem_units is None and self.stem_width_factor != 1:
            raise ValueError("stem_width_factor needs a ResNet stem: give stem_units.")
        if self.axial and (self.classifier == "token" or self.num_registers or self.is_relative):
            raise ValueError(
                "axial attention has only patches, and absolute positions: choose classifier "
                "'gap' or 'map', no registers, and another position_embedding than 'relative'."
            )

    def _make_positions(self) -> list[keras.layers.Layer]:
        """The position layers: one for the stem or for all blocks, or one per block."""
        if self.position_embedding == "none":
            return []
        count = self.num_layers if self.position_place == "every_layer" else 1
        names = ["positions"] if count == 1 else [f"positions_{i}" for i in range(count)]
        policy = self.dtype_policy
        if self.is_relative:
            head_dim = self.width // self.num_heads
            return [RelativePositionEmbedding(head_dim, name=name, dtype=policy) for name in names]
        return [
            POSITION_EMBEDDINGS[self.position_embedding](
                self.grid_size, self.num_unpositioned_tokens, name=name, dtype=policy
            )
            for name in names
        ]

    def _make_block(self, index: int) -> keras.layers.Layer:
        arguments: dict[str, Any] = {
            "mlp_dim": self.mlp_dim,
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
            "stochastic_depth_rate": self.stochastic_depth_rate
            * (index / max(1, self.num_layers - 1)),
            "layer_scale_init": self.layer_scale_init,
            "qk_norm": self.qk_norm,
            "name": f"block_{index}",
            "dtype": self.dtype_policy,
        }
        return AxialBlock(self.grid_size, **arguments) if self.axial else EncoderBlock(**arguments)

    def build_backbone(self, input_shape: tuple[int | None, ...]) -> None:
        if self.stem is not None:
            self.stem.build(input_shape)
            input_shape = self.stem.compute_output_shape(input_shape)
        self.patch_embedding.build(input_shape)
        rows, columns = self.grid_size
        shape: tuple[int | None, ...] = (None, rows * columns, self.width)
        for tokens in (self.class_token, self.registers):
            if tokens is not None:
                tokens.build(shape)
                shape = tokens.compute_output_shape(shape)
        for layer in (*self.positions, self.embedding_dropout, *self.blocks, self.encoder_norm):
            layer.build(shape)
        if self.attention_pooling is not None:
            self.attention_pooling.build((None, rows * columns, self.width))
        if self.pre_logits is not None:
            self.pre_logits.build((None, self.width))

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return patch_grid(self.image_size, self.patch_pixels)

    @property
    def patch_pixels(self) -> int:
        """Side of a patch in pixels of the image: of a hybrid, its total downsampling."""
        halvings = 0 if self.stem_units is None else num_halvings(self.stem_units)
        return self.patch_size * 2**halvings

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens that stand before those of the patches: registers, then the class token."""
        return self.num_registers + (self.class_token is not None)

    @property
    def num_unpositioned_tokens(self) -> int:
        """How many of the prefix tokens have no position embedding."""
        positioned = self.position_embedding == "learned_1d" and self.class_token_positioned
        return self.num_prefix_tokens - (positioned and self.class_token is not None)

    @property
    def is_relative(self) -> bool:
        """Whether positions act in the attention, rather than being added to the tokens."""
        return self.position_embedding == "relative"

    @property
    def last_block_only(self) -> int | None:
        """The one token of the last block that `pool` reads; None: it reads more.

        The others' queries, projections and MLPs would be computed for nothing, a twelfth of a
        model of 12 blocks. (With relative positions they are, for the sake of less code.)
        """
        reads_one = self.classifier == "token" and not self.is_relative
        return self.num_prefix_tokens - 1 if reads_one else None

    @property
    def feature_dim(self) -> int:
        return self.representation_size or self.width

    @property
    def has_noise(self) -> bool:
        return self.dropout_rate > 0 or self.stochastic_depth_rate > 0

    def backbone(self, images: Any, training: bool | None, seeds: Any) -> Any:
        tokens = self.embed(images, training=training, seeds=seeds)
        for i in range(self.num_layers):
            only = self.last_block_only if i == self.num_layers - 1 else None
            tokens = self.apply_block(i, tokens, training=training, seeds=seeds, only=only)
        return self.pool(tokens)

    def embed(self, images: Any, training: bool | None = False, seeds: Any = None) -> Any:
        """Images to the first block's input, `[batch, tokens, width]`."""
        return self.add_positions(self.embed_patches(images), training=training, seeds=seeds)

    def embed_patches(self, images: Any) -> Any:
        """Images to patch embeddings without position, `[batch, rows·columns, width]`.

        Raises:
            ValueError: images of another size than the model's.
        """
        # 48×32 pixels have as many patches as 32×48, whose positions they must not be given.
        if tuple(images.shape[1:]) != (*self.image_size, 3):
            height, width = self.image_size
            raise ValueError(
                f"{self.name} takes images [batch, {height}, {width}, 3]; got "
                f"{list(images.shape)}. adapt_model makes a copy for another size."
            )
        x = images if self.stem is None else self.stem(images)
        rows, columns = self.grid_size
        return ops.reshape(self.patch_embedding(x), (-1, rows * columns, self.width))

    def add_positions(self, patches: Any, training: bool | None = False, seeds: Any = None) -> Any:
        """Patch embeddings to the first block's input: class token, registers, position."""
        tokens = patches
        for layer in (self.class_token, self.registers):
            if layer is not None:
                tokens = layer(tokens)
        if self.positions and self.position_place == "stem" and not self.is_relative:
            tokens = self.positions[0](tokens)
        return self.embedding_dropout(tokens, training=training, seeds=fold_in(seeds, 0))

    def apply_block(
        self,
        index: int,
        tokens: Any,
        training: bool | None = False,
        seeds: Any = None,
        only: int | None = None,
    ) -> Any:
        """Tokens `[batch, tokens, width]` through block number `index`.

        With `only`, which an axial block does not know, the result is that token alone.
        """
        block, seeds = self.blocks[index], fold_in(seeds, index + 1)
        tokens, options = self.block_input(index, tokens)
        if only is not None:
            options["only"] = only

        def run(tokens: Any) -> Any:
            return block(tokens, training=training, seeds=seeds, **options)

        return keras.remat(run)(tokens) if self.remat and training else run(tokens)

    def block_input(self, index: int, tokens: Any) -> tuple[Any, dict[str, Any]]:
        """What block number `index` is called with: the tokens, and embeddings for its attention.

        Where positions are not added at the stem, they come in here.
        """
        if not self.positions:
            return tokens, {}
        positions = self.positions[index % len(self.positions)]
        at_stem = self.position_place == "stem"
        if self.is_relative:
            return tokens, {} if at_stem and index else {"relative": positions(tokens)}
        return tokens if at_stem else positions(tokens), {}

    def pool(self, tokens: Any) -> Any:
        """From the last block's tokens `[batch, tokens, width]` to the features.

        Where the class token is all that is read, it may be the only one.
        """
        if self.classifier == "token":
            # Layer norm is per token: the others need none.
            features = self.encoder_norm(
                tokens[:, min(self.num_prefix_tokens, tokens.shape[1]) - 1]
            )
        else:
            patches = self.encoder_norm(tokens[:, self.num_prefix_tokens :])
            features = (
                ops.mean(patches, axis=1)
                if self.attention_pooling is None
                else self.attention_pooling(patches)
            )
        if self.pre_logits is not None:
            features = self.pre_logits(features)
        return ops.cast(features, self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "num_layers": self.num_layers,
            "width": self.width,
            "mlp_dim": self.mlp_dim,
            "num_heads": self.num_heads,
            "classifier": self.classifier,
            "representation_size": self.representation_size,
            "position_embedding": self.position_embedding,
            "position_place": self.position_place,
            "class_token_positioned": self.class_token_positioned,
            "num_registers": self.num_registers,
            "qk_norm": self.qk_norm,
            "layer_scale_init": self.layer_scale_init,
            "dropout_rate": self.dropout_rate,
            "stochastic_depth_rate": self.stochastic_depth_rate,
            "stem_units": None if self.stem_units is None else list(self.stem_units),
            "stem_width_factor": self.stem_width_factor,
            "axial": self.axial,
            "remat": self.remat,
        }
