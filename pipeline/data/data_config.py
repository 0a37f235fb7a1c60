"""Options of the data: which images, and the view of them that the model sees."""

from dataclasses import dataclass, fields, replace
from typing import Literal

from pipeline.data.images.augment_preset import AUGMENT_PRESETS, AugmentPreset


@dataclass(kw_only=True)
class ViewConfig:
    """How an image becomes the tensor that the model sees."""

    image_size: int | tuple[int, int] = 224
    """Size that the model sees, in pixels: one number, or [height, width]."""
    eval_resize: int | None = None
    """Evaluation: resize the shorter side to this many pixels, then crop the center (256 for a
    224-pixel model). null: resize straight to `image_size`, as the original ViT code does."""
    crop: Literal["inception", "torchvision", "simple", "resize"] = "inception"
    """Training: random crop of random area and aspect, drawn as by TensorFlow (inception) or as by
    torchvision's RandomResizedCrop, which takes fewer small ones; simple: DeiT III's crop of the
    image resized to fit; or the whole image resized."""
    min_crop_area: float = 0.05
    """Smallest share of the image's area that an inception or torchvision crop keeps, in (0, 1]."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Of resizing. Training: bilinear without antialiasing, as big_vision, or bicubic with it, as
    timm, which takes longer. Evaluation: either with it."""
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
    three_augment: bool = False
    """Training: 3-Augment (DeiT III): each image becomes gray, solarized or blurred."""
    color_jitter: float = 0.0
    """Training: brightness, contrast and saturation, in random order, change by factors from 1 -
    this to 1 + this; 0: none. DeiT III: 0.3."""
    random_erasing: float = 0.0
    """Training: probability that a box of 2 to 33 % of an image becomes noise, as in timm."""
    mixup_alpha: float | None = None
    """MixUp: parameter p of Beta(p, p), the distribution of the share that an image keeps when it
    is mixed with another; 0: no MixUp; null: the preset's."""
    cutmix_alpha: float = 0.0
    """CutMix: parameter p of Beta(p, p), the distribution of the area that an image keeps when a
    box of another is pasted in; 0: no CutMix. With MixUp too, each step does one of both."""

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

    @property
    def ends_in_8_bits(self) -> bool:
        """Whether the last step of a training view gives whole numbers from 0 to 255."""
        layers = self.augmentation.randaugment_layers
        rand_augment = layers > 0 and self.randaugment_policy == "big_vision"
        others = self.color_jitter > 0 or self.random_erasing > 0
        return rand_augment or self.three_augment or others


@dataclass(kw_only=True)
class DataConfig(ViewConfig):
    """Where the images come from and how they become tensors."""

    source: str
    """Dataset folder (as written by `beam_jobs` or by TFDS), or a TFDS name such as cifar100. The
    folder may be a URL, gs://… or s3://…: what TensorFlow cannot read there is first copied to this
    host's cache, of at most VIT_DATASET_CACHE_GB (200) in ~/.cache or XDG_CACHE_HOME."""
    prepare: str | None = None
    """Module and arguments of the job that makes `source` where it does not exist yet, such as
    `beam_jobs.render_glyphs --output datasets/glyphs`."""
    data_dir: str | None = None
    """Where TFDS keeps its datasets, for a `source` that is a TFDS name."""
    train_split: str = "train"
    """Split to train on, in TFDS notation, such as train[:99%]."""
    eval_split: str | None = "validation"
    """Split to evaluate on; null: no evaluation."""
    held_out: float | None = None
    """Share of `train_split` to hold out, the same of each class, and evaluate on in place of an
    `eval_split`, such as 0.1; null: none is."""
    image_key: str = "image"
    """Name of the image feature."""
    label_key: str = "label"
    """Name of the class label feature."""
    repeated_augmentation: int = 1
    """Views of each training image in a global batch (arXiv 1902.05509); 3 in DeiT. An epoch keeps
    its number of steps, and has so many times fewer images, others each time."""
    shuffle_window: int = 8192
    """Encoded images held in memory for shuffling. The dataset folder is shuffled as written."""
    service: str | None = None
    """Address, grpc://host:port, of the dispatcher of a tf.data service (`python -m
    pipeline.data_service`), whose workers decode and augment the training images where this host's
    CPUs are too slow. The batches are the same, bit for bit, in the same order; each worker reads
    all files. null: none."""
    service_workers: int = 1
    """Workers of that service."""
