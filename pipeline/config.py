"""Typed configuration of the training job; `--help` and the YAML files are made from it.

Nothing here imports TensorFlow: help, `--print_config` and argument errors answer at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from pipeline.data.augment_preset import AUGMENT_PRESETS, AugmentPreset


@dataclass
class DataConfig:
    """Where the images come from and how they become tensors."""

    source: str
    """Dataset folder (as written by `beam_jobs` or by TFDS), or a TFDS name such as cifar100."""
    prepare: str | None = None
    """Module and arguments of the job that makes `source` where it does not exist yet, such as
    `beam_jobs.render_glyphs --output datasets/glyphs`."""
    data_dir: str | None = None
    """Where TFDS keeps its datasets, for a `source` that is a TFDS name."""
    train_split: str = "train"
    """Split to train on, in TFDS notation, such as train[:99%]."""
    eval_split: str | None = "validation"
    """Split to evaluate on; null: no evaluation."""
    image_key: str = "image"
    """Name of the image feature."""
    label_key: str = "label"
    """Name of the class label feature."""
    image_size: int | tuple[int, int] = 224
    """Size that the model sees, in pixels: one number, or [height, width]."""
    eval_resize: int | None = None
    """Evaluation: resize the shorter side to this many pixels, then crop the centre (256 for a
    224-pixel model). null: resize straight to `image_size`, as the original ViT code does."""
    crop: Literal["inception", "resize"] = "inception"
    """Training: random crop of random area and aspect, or the whole image resized."""
    min_crop_area: float = 0.05
    """Smallest share of the image's area that an inception crop keeps, in (0, 1]."""
    flip: bool = True
    """Training: mirror half of the images left to right. Off for letters and digits."""
    augment_preset: Literal[
        "none", "light1", "light2", "medium1", "medium2", "strong1", "strong2"
    ] = "none"
    """Training: RandAugment and MixUp of a strength of AugReg (arXiv 2106.10270). Each of the next
    three options, where it is given, wins over the preset's."""
    randaugment_layers: int | None = None
    """Operations that RandAugment applies to each image; 0: no RandAugment; null: the preset's."""
    randaugment_magnitude: int | None = None
    """Level of these operations, from 0 on, 10 being the usual maximum; null: the preset's."""
    randaugment_policy: Literal["big_vision", "keras_cv"] = "big_vision"
    """Whose operations. keras_cv: the ten of keras-cv (extra keras-cv), at levels up to 10 that
    differ from image to image, as in its RandAugment; drawn from the same seeds."""
    mixup_alpha: float | None = None
    """MixUp: parameter p of Beta(p, p), the distribution of the share that an image keeps when it
    is mixed with another; 0: no MixUp; null: the preset's."""
    cutmix_alpha: float = 0.0
    """CutMix: parameter p of Beta(p, p), the distribution of the area that an image keeps when a
    box of another is pasted in; 0: no CutMix. With MixUp too, each step does one of both."""
    shuffle_window: int = 8192
    """Encoded images held in memory for shuffling. The dataset folder is shuffled as written."""
    service: str | None = None
    """grpc://host:port of the dispatcher of a tf.data service (`python -m pipeline.data_service`),
    whose workers decode and augment the training images where this host's CPUs are too slow. The
    batches are the same, bit for bit, in the same order; each worker reads all files. null: none.
    """
    service_workers: int = 1
    """Workers of that service."""

    @property
    def height_width(self) -> tuple[int, int]:
        """`image_size` as (height, width)."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def augmentation(self) -> AugmentPreset:
        """The preset, with what is given explicitly in its place."""
        given = {field.name: getattr(self, field.name) for field in fields(AugmentPreset)}
        chosen = {name: value for name, value in given.items() if value is not None}
        return replace(AUGMENT_PRESETS[self.augment_preset], **chosen)

    @property
    def mixes_images(self) -> bool:
        """Whether MixUp or CutMix is on."""
        return self.augmentation.mixup_alpha > 0 or self.cutmix_alpha > 0


@dataclass
class ModelConfig:
    """The model: a variant by name, and what differs from it.

    An option that is not given is the variant's own; one that its family does not have (dropout of
    a ResNet, say) is an error.
    """

    variant: str = "S/16"
    """Size and patch, such as Ti/16, S/32, B/16, L/16 or H/14; a hybrid, such as R50+B/16;
    Axial-B/32; a ResNet, such as BiT-R50x1, AxialResNet-50 or BoTNet-50."""
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
    head_bias_init: float = 0.0
    """Initial bias of the head; -10 with the sigmoid loss over many classes."""


@dataclass
class OptimConfig:
    """The optimiser, its schedule and clipping."""

    optimizer: Literal["adamw", "sgd", "adafactor"] = "adamw"
    """adamw; sgd with momentum, as the paper fine-tunes; adafactor as in scaling ViT (arXiv
    2106.04560), which keeps nearly no second moment."""
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
    cooldown_steps: int = 0
    """Last steps, over which the learning rate falls linearly to 0, whatever its decay."""
    momentum: float = 0.9
    """Of sgd and adafactor, in [0, 1)."""
    beta1: float = 0.9
    """adamw: decay of the first moment."""
    beta2: float = 0.999
    """adamw: decay of the second moment."""
    epsilon: float = 1e-8
    """adamw: added to the root of the second moment."""
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
    """Sharpness-aware minimisation (arXiv 2106.01548): the gradient is that at the weights moved by
    this distance to where the loss is higher, such as 0.2. Each step takes twice the time. null:
    off."""


@dataclass
class MaskedPatchesConfig:
    """Masked patch prediction, where it is the objective."""

    target: Literal["mean_color", "downsampled", "pixels"] = "mean_color"
    """What is predicted of a corrupted patch: its mean colour, one of 512; the colours of its 4×4
    parts; or all pixels, by L2 regression."""
    corrupted_share: float = 0.5
    """Share of the patches that is corrupted, in (0, 1)."""


@dataclass
class CheckpointConfig:
    """Saving and resuming."""

    every_steps: int = 1000
    """Steps between checkpoints."""
    keep: int = 3
    """Checkpoints kept."""
    keep_best: Literal["eval/accuracy", "eval/loss"] | None = None
    """Keep the checkpoint of the best evaluation too: highest accuracy, or lowest loss. It lies in
    WORKDIR/best_checkpoint, and `python -m pipeline.export --checkpoint best` exports it; the run's
    own export is of the last step. null: none is kept."""


@dataclass
class LogConfig:
    """What is written while training."""

    every_steps: int = 50
    """Steps between rows in TensorBoard and metrics.jsonl."""
    images: int = 16
    """Augmented training images shown in TensorBoard at the start, with the names of their classes;
    before MixUp and CutMix, which the accelerator does. 0: none."""
    pictures: bool = True
    """TensorBoard, at each evaluation: embedding filters, similarity of position embeddings,
    confusion matrix (over 100 classes: the most frequent confusions as text)."""
    peak_tflops: float | None = None
    """Peak TFLOP/s of one device, to which MFU relates; null: the data sheet's dense bfloat16 where
    the device is known, otherwise no MFU."""
    profile_steps: tuple[int, int] | None = None
    """First and last step of a profile for TensorBoard, such as [20, 25]; null: none."""


@dataclass
class TransferJob:
    """Transfer evaluation after training: the arguments of `python -m pipeline.transfer`."""

    source: str
    """Dataset folder or TFDS name to evaluate on."""
    prepare: str | None = None
    """Module and arguments of the job that makes `source` where it does not exist yet."""
    train_split: str = "train"
    """Split that the few shots are drawn from."""
    test_split: str | None = None
    """Split that accuracy is measured on; null: test, or validation where there is no test."""


@dataclass
class PretrainConfig:
    """Pre-train a Vision Transformer; then export it and evaluate its transfer."""

    data: DataConfig
    workdir: str
    """Folder of checkpoints, TensorBoard, metrics.jsonl, export and reports. A run that was
    stopped goes on from here."""
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    steps_per_loop: int = 1
    """Steps that the accelerator does before the host has its turn; a log row, an evaluation, a
    checkpoint and a stop wait for the end of such a loop, which is shortened to meet them. The
    results are the same; on a TPU, or with short steps, it is faster. With more than 1 the time
    spent waiting for input is not measured."""
    objective: Literal["classify", "masked_patches"] = "classify"
    """What is learnt: the labels, or, without labels, what is in corrupted patches (paper, appendix
    B.1.2). The export of the latter is the encoder under a head of zeros, for fine-tuning."""
    masked_patches: MaskedPatchesConfig = field(default_factory=MaskedPatchesConfig)
    steps: int | None = None
    """Optimiser steps; give this or `epochs`."""
    epochs: float | None = None
    """Passes over the training split; give this or `steps`."""
    batch_size: int = 1024
    """Images in a global batch: over all replicas and accumulation steps."""
    accumulate: int = 1
    """Microbatches that each replica splits its share of the batch into, to save memory."""
    loss: Literal["softmax", "sigmoid"] = "softmax"
    """Softmax, or per-class sigmoid, cross-entropy."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes, in [0, 1)."""
    class_weights: Literal["none", "auto"] = "none"
    """auto: an example's training loss counts in inverse proportion to the frequency of its class,
    1 on average. The labels of the training split are counted once."""
    ema_decay: float | None = None
    """Decay of a moving average of the weights, such as 0.9999, which is then what is evaluated
    and exported; null: none."""
    eval_every_steps: int | None = None
    """Steps between evaluations; null: only at the end."""
    eval_batch_size: int | None = None
    """Images in a global evaluation batch; null: `batch_size`."""
    strategy: Literal["auto", "default", "mirrored", "multi_worker", "tpu"] = "auto"
    """tf.distribute strategy. auto: multi_worker where `workers`, TF_CONFIG or a Slurm step name
    several, tpu on a TPU host, mirrored over several GPUs, otherwise default (one device)."""
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
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Compute type. auto: bfloat16 on TPUs and on GPUs that have it, otherwise float32. float16 is
    for older GPUs: the loss is scaled dynamically. Weights are float32 always."""
    jit_compile: Literal["auto", "true", "false"] = "auto"
    """Compile the forward and backward pass with XLA. auto: on TPUs and GPUs, not on CPUs."""
    seed: int = 0
    """Everything random follows from it: initial weights, order, augmentation, dropout."""
    resume: str | None = None
    """Workdir of another run to take model, optimiser and step from, where this workdir holds no
    checkpoint."""
    init_from: str | None = None
    """`.keras` file to take weights from, where there is no checkpoint to resume. A head with
    another number of classes starts anew."""
    export: bool = True
    """Write the SavedModel and the `.keras` file to WORKDIR/export at the end."""
    transfer: TransferJob | None = None
    """Transfer evaluation at the end; its report goes to WORKDIR/transfer."""
