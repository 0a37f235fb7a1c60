"""Training input, images per second of one core: decode, crop and flip; and with augmentation.

    python benchmarks/input_speed.py
    python benchmarks/input_speed.py --photos /usr/share/backgrounds

The JPEGs are 500×375, the views 224×224. Without `--photos` they are of generated, photo-like
content (about 100 kB each, as ImageNet's); with it they are crops of the photographs in that
folder, of which many are smooth and make smaller files.

What counts is the processor time of this process, with TensorFlow held to one thread, so that other
work on the machine matters less. "decode alone" is TensorFlow's decoder and nothing else: the rates
depend on the machine and on the JPEGs, the ratios to it less. keras-cv, where it is installed, gets
the same crops one by one from our seeds and in batches of 32 by its own layer;
`keras.layers.RandAugment` gets batches, as it is meant to. The fastest of several rounds is shown,
for contenders that take turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import PIL.Image
import tensorflow as tf

from pipeline.data.batches.train_batches import training_view
from pipeline.data.data_config import ViewConfig
from pipeline.speed.photo_like import photo_like

BATCH = 32
FILES = 64
HEIGHT, WIDTH = 375, 500


def crops_of_photos(folder: Path, quality: int, generator: np.random.Generator) -> list[bytes]:
    """JPEGs of random windows of the photographs in `folder`, each shrunk by 1 to 2.

    Only JPEG files are taken, for what lies beside photographs in other formats are drawings.
    """
    photos = []
    for path in sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")
    ):
        with PIL.Image.open(path) as image:
            if image.width >= WIDTH and image.height >= HEIGHT:
                photos.append(image.convert("RGB"))
    if not photos:
        sys.exit(f"--photos {folder}: no JPEG file of at least {WIDTH}×{HEIGHT} pixels in it")
    crops = []
    for index in range(FILES):
        photo = photos[index % len(photos)]
        largest = min(2.0, photo.width / WIDTH, photo.height / HEIGHT)
        scale = generator.uniform(1.0, largest)
        width, height = WIDTH * scale, HEIGHT * scale
        left = generator.uniform(0, photo.width - width)
        top = generator.uniform(0, photo.height - height)
        crop = photo.resize(
            (WIDTH, HEIGHT),
            PIL.Image.Resampling.LANCZOS,
            box=(left, top, left + width, top + height),
        )
        buffer = io.BytesIO()
        crop.save(buffer, "JPEG", quality=quality)
        crops.append(buffer.getvalue())
    return crops


def contenders(files: list[bytes]) -> dict[str, tf.data.Dataset]:
    """Endless datasets of batches, by name."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    # They would let a dataset work ahead while another one is being measured.
    options.experimental_optimization.apply_default_optimizations = False
    numbered = tf.data.Dataset.from_tensor_slices(files).repeat().enumerate().with_options(options)

    def views(**augmentation) -> tf.data.Dataset:
        config = ViewConfig(image_size=224, **augmentation)

        def view(number: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
            seeds = tf.random.experimental.stateless_split(tf.stack([0, number]), 3)
            return training_view(encoded, config, *tf.unstack(seeds))

        return numbered.map(view).batch(BATCH, drop_remainder=True)

    def pixels(number: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_jpeg(encoded, channels=3)[0, 0]

    def batched(layer: keras.layers.Layer) -> tf.data.Dataset:
        return views().map(lambda batch: layer(batch, training=True))

    result = {
        "decode alone": numbered.map(pixels).batch(BATCH, drop_remainder=True),
        "decode, crop, flip": views(),
        "  + RandAugment (2, 15)": views(randaugment_layers=2, randaugment_magnitude=15),
        "  + 3-Augment, jitter 0.3": views(three_augment=True, color_jitter=0.3),
        "  the same, torchvision's crop": views(
            three_augment=True, color_jitter=0.3, crop="torchvision"
        ),
        "  the same, bicubic": views(
            three_augment=True, color_jitter=0.3, crop="torchvision", interpolation="bicubic"
        ),
        "  the same, simple crop": views(
            three_augment=True, color_jitter=0.3, crop="simple", interpolation="bicubic"
        ),
        "  + keras.layers.RandAugment": batched(
            keras.layers.RandAugment(value_range=(-1, 1), num_ops=2, factor=0.75)
        ),
    }
    if importlib.util.find_spec("keras_cv") is None:
        print("keras-cv is not installed: left out")
        return result
    import keras_cv

    theirs = keras_cv.layers.RandAugment(
        value_range=(-1, 1), augmentations_per_image=2, magnitude=0.75
    )
    result["  + randaugment_policy keras_cv"] = views(
        randaugment_layers=2, randaugment_magnitude=8, randaugment_policy="keras_cv"
    )
    result["  + keras_cv's RandAugment"] = batched(theirs)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=256, help="images per round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the best counts")
    parser.add_argument("--photos", type=Path, help="folder of photographs to cut the JPEGs from")
    parser.add_argument("--quality", type=int, default=95, help="JPEG quality of these")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    generator = np.random.default_rng(0)
    if arguments.photos:
        files = crops_of_photos(arguments.photos, arguments.quality, generator)
    else:
        files = [photo_like(generator, HEIGHT, WIDTH) for _ in range(FILES)]
    print(f"{len(files)} JPEGs of {np.mean([len(file) for file in files]) / 1000:.0f} kB")
    iterators = {name: iter(dataset) for name, dataset in contenders(files).items()}
    for iterator in iterators.values():
        next(iterator)
    best = dict.fromkeys(iterators, float("inf"))
    for _ in range(arguments.rounds):
        for name, iterator in iterators.items():
            start = time.process_time()
            for _ in range(arguments.images // BATCH):
                next(iterator)
            best[name] = min(best[name], time.process_time() - start)
    first = next(iter(best.values()))
    for name, seconds in best.items():
        rate = arguments.images // BATCH * BATCH / seconds
        print(f"{name:32} {rate:6.0f} images/s   {first / seconds:5.2f}")


if __name__ == "__main__":
    main()
