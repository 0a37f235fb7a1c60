"""The Vision Transformer, its hybrids and its ablations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from vit_keras.image_classifier import ImageClassifier, check_at_least
from vit_keras.layers.activation import Activation, check_activation
from vit_keras.layers.attention_pooling import AttentionPooling
from vit_keras.layers.axial_block import AxialBlock
from vit_keras.layers.class_token import PrependTokens
from vit_keras.layers.dropout import Dropout
from vit_keras.layers.encoder_block import EncoderBlock
from vit_keras.layers.noise import fold_in
from vit_keras.layers.normalization import EPSILON, Norm, token_norm
from vit_keras.layers.patch_embedding import PatchEmbedding, patch_grid
from vit_keras.layers.position_embedding import POSITION_EMBEDDINGS
from vit_keras.layers.relative_position import RelativePositionEmbedding
from vit_keras.layers.resnet_stem import Numerics, ResNetStem, num_halvings
from vit_keras.layers.rotary import Rope, rotary_table

Classifier = Literal["token", "gap", "map", "distilled", "token_gap"]
PositionEmbedding = Literal["learned_1d", "learned_2d", "sincos_2d", "relative", "none"]
PositionPlace = Literal["stem", "every_layer", "shared"]
FinalNorm = Literal["tokens", "features", "none"]

# What each of these choices may be.
CHOICES: dict[str, tuple[str | None, ...]] = {
    "classifier": ("token", "gap", "map", "distilled", "token_gap"),
    "position_embedding": ("learned_1d", "learned_2d", "sincos_2d", "relative", "none"),
    "position_place": ("stem", "every_layer", "shared"),
    "final_norm": ("tokens", "features", "none"),
    "norm": ("layer_norm", "rms_norm"),
    "rope": (None, "normalized", "grid"),
}

# Arguments that a block is given as they are.
_OF_BLOCKS = (
    "mlp_dim",
    "num_heads",
    "dropout_rate",
    "layer_scale_init",
    "qk_norm",
    "activation",
    "gated_mlp",
    "qkv_bias",
    "use_bias",
    "attention_inner_norm",
    "mlp_inner_norm",
    "norm",
    "norm_epsilon",
    "residual_post_norm",
    "rope",
)


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
            patches' tokens; "map", attention pooling of them; "distilled", the class token and a
            distillation token side by side (DeiT, section 3); "token_gap", the class token and the
            mean side by side (DINOv2's linear probes).
        class_token: whether there is a class token; None: where the classifier reads it.
        pool_prefix: "gap" and "map" pool the class token and registers too.
        representation_size: width of a dense tanh layer before the head ("pre-logits"); None:
            none, as in every fine-tuned checkpoint.
        position_embedding: "learned_1d" (the paper's), "learned_2d", "sincos_2d" (fixed),
            "relative" or "none" (appendix D.4).
        position_place: "stem": added once, before the first block; "every_layer": each block adds
            its own; "shared": each block adds the same (Table 8). Relative embeddings act in the
            attention: in that of the first block alone, of each, or shared by all. None: "stem",
            but "every_layer" for relative embeddings.
        class_token_positioned: whether the class token has a learned 1-D position too, as in the
            official code; False is big_vision's way, whose embedding starts with deviation 1/√width
            instead of 0.02. The other embeddings never give it one.
        num_registers: register tokens beside the patches ("Vision Transformers Need Registers").
        rope: rotary embedding of query and key besides `position_embedding`, with "normalized"
            coordinates (DINOv3) or numbers on a "grid" (EVA-02); see `rotary_table`. None: none.
        rope_temperature: ratio of its longest period to its shortest.
        rope_grid: "grid": patches per side of the pre-training grid, to which the numbers are
            scaled; None: the model's own.
        qk_norm: norm over each head's query and key.
        activation: of the MLPs: "gelu_tanh", the official code's; "gelu", that of timm and Hugging
            Face; "quick_gelu", OpenAI's CLIP's; "silu".
        gated_mlp: MLPs of three matrices, the activation of one product times another: SwiGLU with
            "silu".
        norm: "layer_norm" or "rms_norm", everywhere.
        norm_epsilon: epsilon of all norms over tokens.
        qkv_bias: whether query, key and value have a bias.
        use_bias: whether the attention's projection and the MLP have one.
        patch_bias: whether the patch embedding has one.
        patch_norm: norm of the patch embeddings, before their positions (AIMv2).
        pre_norm: norm of all tokens before the first block (CLIP).
        final_norm: what the last norm takes: each of the "tokens", or the pooled "features"; with
            "none" there is none.
        attention_inner_norm: norm before the attention's projection (sub-LN; BEiT-3).
        mlp_inner_norm: norm of the MLPs' hidden layer (sub-LN; EVA-02).
        residual_post_norm: norms at the end of the residual branches instead of at their start.
        layer_scale_init: initial value of LayerScale; None: no LayerScale.
        dropout_rate: after the position embedding and in each block, in [0, 1).
        stochastic_depth_rate: rate of the last block, in [0, 1); the first has 0 and the others
            lie on a line between (AugReg, section 3.3).
        stem_units: residual units per stage of a ResNet stem (a hybrid); None: no stem.
        stem_width_factor: multiplies the channels of that stem, 64 in its first stage.
        stem_numerics: its epsilons, "flax" (official code) or "pytorch" (timm).
        axial: blocks attend along rows, then along columns (Axial-ViT, appendix D.5).
        remat: compute each block again in the backward pass instead of keeping its activations:
            less memory for about a third more time.
        head_bias_init: initial bias of the head.
        **kwargs: `preprocessing` and `class_names` (see `ImageClassifier`); `dtype`.

    Input: `[batch, height, width, 3]` float32, in [-1, 1] unless `preprocessing` says otherwise;
    output: `[batch, num_classes]` float32.

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
        class_token: bool | None = None,
        pool_prefix: bool = False,
        representation_size: int | None = None,
        position_embedding: PositionEmbedding = "learned_1d",
        position_place: PositionPlace | None = None,
        class_token_positioned: bool = True,
        num_registers: int = 0,
        rope: Rope | None = None,
        rope_temperature: float = 100.0,
        rope_grid: int | None = None,
        qk_norm: bool = False,
        activation: Activation = "gelu_tanh",
        gated_mlp: bool = False,
        norm: Norm = "layer_norm",
        norm_epsilon: float = EPSILON,
        qkv_bias: bool = True,
        use_bias: bool = True,
        patch_bias: bool = True,
        patch_norm: bool = False,
        pre_norm: bool = False,
        final_norm: FinalNorm = "tokens",
        attention_inner_norm: bool = False,
        mlp_inner_norm: bool = False,
        residual_post_norm: bool = False,
        layer_scale_init: float | None = None,
        dropout_rate: float = 0.0,
        stochastic_depth_rate: float = 0.0,
        stem_units: Sequence[int] | None = None,
        stem_width_factor: float = 1,
        stem_numerics: Numerics = "flax",
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
        self.has_class_token = self._reads_class_token if class_token is None else class_token
        self.pool_prefix = pool_prefix
        self.representation_size = representation_size
        self.position_embedding = position_embedding
        self.position_place = position_place or (
            "every_layer" if position_embedding == "relative" else "stem"
        )
        self.class_token_positioned = class_token_positioned
        self.num_registers = num_registers
        self.rope = rope
        self.rope_temperature = rope_temperature
        self.rope_grid = rope_grid
        self.qk_norm = qk_norm
        self.activation = activation
        self.gated_mlp = gated_mlp
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.qkv_bias = qkv_bias
        self.use_bias = use_bias
        self.patch_bias = patch_bias
        self.patch_norm = patch_norm
        self.pre_norm = pre_norm
        self.final_norm = final_norm
        self.attention_inner_norm = attention_inner_norm
        self.mlp_inner_norm = mlp_inner_norm
        self.residual_post_norm = residual_post_norm
        self.layer_scale_init = layer_scale_init
        self.dropout_rate = dropout_rate
        self.stochastic_depth_rate = stochastic_depth_rate
        self.stem_units = None if stem_units is None else tuple(stem_units)
        self.stem_width_factor = stem_width_factor
        self.stem_numerics = stem_numerics
        self.axial = axial
        self.remat = remat
        self._check_choices()
        self._make_layers()
        self.finish()

    def _make_layers(self) -> None:
        policy = self.dtype_policy
        self.stem = (
            None
            if self.stem_units is None
            else ResNetStem(
                self.stem_units,
                self.stem_width_factor,
                self.stem_numerics,
                name="stem",
                dtype=policy,
            )
        )
        self.patch_embedding = PatchEmbedding(
            self.patch_size, self.width, self.patch_bias, name="patch_embedding", dtype=policy
        )
        self.patch_embedding_norm = self._norm("patch_norm") if self.patch_norm else None
        self.class_token = (
            PrependTokens(name="class_token", dtype=policy) if self.has_class_token else None
        )
        self.distillation_token = (
            PrependTokens(initial_stddev=0.02, name="distillation_token", dtype=policy)
            if self.classifier == "distilled"
            else None
        )
        self.registers = (
            PrependTokens(self.num_registers, initial_stddev=0.02, name="registers", dtype=policy)
            if self.num_registers
            else None
        )
        self.positions = self._make_positions()
        self.embedding_dropout = Dropout(self.dropout_rate, name="embedding_dropout", dtype=policy)
        self.first_norm = self._norm("pre_norm") if self.pre_norm else None
        self.blocks = [self._make_block(i) for i in range(self.num_layers)]
        self.encoder_norm = None if self.final_norm == "none" else self._norm("encoder_norm")
        self.attention_pooling = (
            AttentionPooling(
                self.mlp_dim,
                self.num_heads,
                self.activation,
                self.norm,
                self.norm_epsilon,
                name="attention_pooling",
                dtype=policy,
            )
            if self.classifier == "map"
            else None
        )
        self.pre_logits = (
            None
            if self.representation_size is None
            else keras.layers.Dense(
                self.representation_size,
                activation="tanh",
                kernel_initializer=keras.initializers.LecunNormal(),
                name="pre_logits",
                dtype=policy,
            )
        )

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
        check_at_least(1, rope_grid=self.rope_grid)
        check_activation(self.activation)
        for argument, choices in CHOICES.items():
            value = getattr(self, argument)
            if value not in choices:
                known = ", ".join(map(str, choices))
                raise ValueError(f"{argument} must be one of {known}; got {value!r}.")
        if self._reads_class_token and not self.has_class_token:
            raise ValueError(f"classifier {self.classifier!r} reads the class token: it needs one.")
        if self.reads_two and self.final_norm == "features":
            raise ValueError(
                f"classifier {self.classifier!r} reads two vectors: final_norm 'features' is not "
                "defined for them."
            )
        if self.rope is not None and self.is_relative:
            raise ValueError("rope and relative position embeddings exclude each other.")
        if self.stem_units is None and self.stem_width_factor != 1:
            raise ValueError("stem_width_factor needs a ResNet stem: give stem_units.")
        only_patches = not self.has_class_token and not self.num_registers
        if self.axial and (not only_patches or self.is_relative or self.rope is not None):
            raise ValueError(
                "axial attention has only patches, and absolute positions: choose classifier "
                "'gap' or 'map', no class token, no registers, no rope, and another "
                "position_embedding than 'relative'."
            )

    @property
    def _reads_class_token(self) -> bool:
        return self.classifier in ("token", "distilled", "token_gap")

    @property
    def reads_two(self) -> bool:
        """Whether the head reads two vectors side by side."""
        return self.classifier in ("distilled", "token_gap")

    def _norm(self, name: str) -> keras.layers.Layer:
        return token_norm(name, self.dtype_policy, self.norm, self.norm_epsilon)

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
        options: dict[str, Any] = {"dtype": policy}
        if self.position_embedding == "learned_1d" and not self.class_token_positioned:
            options["initial_stddev"] = None
        return [
            POSITION_EMBEDDINGS[self.position_embedding](
                self.grid_size, self.num_unpositioned_tokens, name=name, **options
            )
            for name in names
        ]

    def _make_block(self, index: int) -> keras.layers.Layer:
        share = index / max(1, self.num_layers - 1)
        arguments: dict[str, Any] = {
            **{argument: getattr(self, argument) for argument in _OF_BLOCKS},
            "stochastic_depth_rate": self.stochastic_depth_rate * share,
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
        if self.patch_embedding_norm is not None:
            self.patch_embedding_norm.build(shape)
        for tokens in self._token_layers():
            tokens.build(shape)
            shape = tokens.compute_output_shape(shape)
        for layer in (
            *self.positions,
            self.embedding_dropout,
            self.first_norm,
            *self.blocks,
            self.encoder_norm,
            self.attention_pooling,
        ):
            if layer is not None:
                layer.build(shape)
        if self.pre_logits is not None:
            self.pre_logits.build((None, self.width * (1 + self.reads_two)))
        if self.rope is not None:
            self.rotation = rotary_table(
                self.grid_size,
                self.width // self.num_heads,
                self.num_prefix_tokens,
                self.rope,
                self.rope_temperature,
                self.rope_grid,
            )

    def _token_layers(self) -> list[PrependTokens]:
        """What puts tokens before the patches, the one next to them first."""
        layers = (self.class_token, self.distillation_token, self.registers)
        return [layer for layer in layers if layer is not None]

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return patch_grid(self.image_size, self.patch_pixels)

    @property
    def patch_pixels(self) -> int:
        """Side of a patch in pixels of the image: of a hybrid, its total downsampling."""
        halvings = 0 if self.stem_units is None else num_halvings(self.stem_units)
        return self.patch_size << halvings

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens that stand before those of the patches.

        Registers, then the distillation token, then the class token.
        """
        return self.num_registers + (self.classifier == "distilled") + self.has_class_token

    @property
    def num_unpositioned_tokens(self) -> int:
        """How many of the prefix tokens have no position embedding."""
        positioned = self.position_embedding == "learned_1d" and self.class_token_positioned
        return self.num_prefix_tokens - (positioned and self.has_class_token)

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
        return self.representation_size or self.width * (1 + self.reads_two)

    @property
    def has_noise(self) -> bool:
        return self.dropout_rate > 0 or self.stochastic_depth_rate > 0

    def backbone(self, images: Any, training: bool | None, seeds: Any) -> Any:
        tokens = self.embed(images, training=training, seeds=seeds)
        for i in range(self.num_layers):
            only = self.last_block_only if i == self.num_layers - 1 else None
            tokens = self.apply_block(i, tokens, training=training, seeds=seeds, only=only)
        return self.pool(tokens)

    def feature_map(self, images: Any) -> Any:
        """The patches' tokens at their places, after the last block: of what dense predictions use.

        After the norm of the tokens, where the model has it there (`final_norm="tokens"`).

        Args:
            images: as of `features`.

        Returns:
            `[batch, rows, columns, width]` float32.
        """
        tokens = self.embed(images)
        for i in range(self.num_layers):
            tokens = self.apply_block(i, tokens)
        patches = tokens[:, self.num_prefix_tokens :]
        if self.final_norm == "tokens" and self.encoder_norm is not None:
            patches = self.encoder_norm(patches)
        return ops.cast(
            ops.reshape(patches, (-1, *self.grid_size, self.width)), self.variable_dtype
        )

    def embed(self, images: Any, training: bool | None = False, seeds: Any = None) -> Any:
        """Images to the first block's input, `[batch, tokens, width]`."""
        return self.add_positions(self.embed_patches(images), training=training, seeds=seeds)

    def embed_patches(self, images: Any) -> Any:
        """Images to patch embeddings without position, `[batch, rows·columns, width]`.

        Raises:
            ValueError: images of another size than the model's.
        """
        # 48×32 pixels have as many patches as 32×48, whose positions they must not be given.
        if tuple(images.shape[1:]) != (*self.image_size, self.channels):
            height, width = self.image_size
            raise ValueError(
                f"{self.name} takes images [batch, {height}, {width}, {self.channels}]; got "
                f"{list(images.shape)}. adapt_model makes a copy for another size."
            )
        x = images if self.stem is None else self.stem(images)
        rows, columns = self.grid_size
        patches = ops.reshape(self.patch_embedding(x), (-1, rows * columns, self.width))
        return patches if self.patch_embedding_norm is None else self.patch_embedding_norm(patches)

    def add_positions(self, patches: Any, training: bool | None = False, seeds: Any = None) -> Any:
        """Patch embeddings to the first block's input: the other tokens, and positions."""
        tokens = patches
        for layer in self._token_layers():
            tokens = layer(tokens)
        if self.positions and self.position_place == "stem" and not self.is_relative:
            tokens = self.positions[0](tokens)
        tokens = self.embedding_dropout(tokens, training=training, seeds=fold_in(seeds, 0))
        return tokens if self.first_norm is None else self.first_norm(tokens)

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
            return tokens, self._rotation()
        positions = self.positions[index % len(self.positions)]
        at_stem = self.position_place == "stem"
        if self.is_relative:
            return tokens, {} if at_stem and index else {"relative": positions(tokens)}
        return tokens if at_stem else positions(tokens), self._rotation()

    def _rotation(self) -> dict[str, Any]:
        return {} if self.rope is None else {"rotation": ops.convert_to_tensor(self.rotation)}

    def pool(self, tokens: Any) -> Any:
        """From the last block's tokens `[batch, tokens, width]` to the features.

        Where the class token is all that is read, it may be the only one.
        """
        prefix = self.num_prefix_tokens
        of_tokens = self.encoder_norm if self.final_norm == "tokens" else None
        if self.classifier == "token":
            # The norm is per token: the others need none.
            features = tokens[:, min(prefix, tokens.shape[1]) - 1]
            features = features if of_tokens is None else of_tokens(features)
        else:
            start = prefix
            if self.reads_two:
                start = prefix - (2 if self.classifier == "distilled" else 1)
            elif self.pool_prefix:
                start = 0
            stop = prefix if self.classifier == "distilled" else None
            read = tokens[:, start:stop]
            read = read if of_tokens is None else of_tokens(read)
            if self.classifier == "distilled":
                features = ops.concatenate([read[:, 1], read[:, 0]], axis=-1)
            elif self.classifier == "token_gap":
                features = ops.concatenate([read[:, 0], ops.mean(read[:, 1:], axis=1)], axis=-1)
            elif self.attention_pooling is not None:
                features = self.attention_pooling(read)
            else:
                features = ops.mean(read, axis=1)
        if self.final_norm == "features":
            assert self.encoder_norm is not None
            features = self.encoder_norm(features)
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
            "class_token": self.has_class_token,
            "pool_prefix": self.pool_prefix,
            "representation_size": self.representation_size,
            "position_embedding": self.position_embedding,
            "position_place": self.position_place,
            "class_token_positioned": self.class_token_positioned,
            "num_registers": self.num_registers,
            "rope": self.rope,
            "rope_temperature": self.rope_temperature,
            "rope_grid": self.rope_grid,
            "qk_norm": self.qk_norm,
            "activation": self.activation,
            "gated_mlp": self.gated_mlp,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "qkv_bias": self.qkv_bias,
            "use_bias": self.use_bias,
            "patch_bias": self.patch_bias,
            "patch_norm": self.patch_norm,
            "pre_norm": self.pre_norm,
            "final_norm": self.final_norm,
            "attention_inner_norm": self.attention_inner_norm,
            "mlp_inner_norm": self.mlp_inner_norm,
            "residual_post_norm": self.residual_post_norm,
            "layer_scale_init": self.layer_scale_init,
            "dropout_rate": self.dropout_rate,
            "stochastic_depth_rate": self.stochastic_depth_rate,
            "stem_units": None if self.stem_units is None else list(self.stem_units),
            "stem_width_factor": self.stem_width_factor,
            "stem_numerics": self.stem_numerics,
            "axial": self.axial,
            "remat": self.remat,
        }
