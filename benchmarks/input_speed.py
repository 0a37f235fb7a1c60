"""Training input, images per second of one core: decode, crop and flip; and with RandAugment.

    python benchmarks/input_speed.py

500×375 JPEGs of photo-like content, about 100 kB each, are made by the script; views are 224×224.
What counts is the processor time of this process, with TensorFlow held to one thread, so that other
work on the machine matters less. "decode alone" is TensorFlow's decoder and nothing else: the rates
depend on the machine and on the JPEGs, the ratios to it less. keras-cv, where it is installed, gets
the same crops one by one and in batches of 32, `keras.layers.RandAugment` in batches, as it is
meant to. The fastest of several rounds is shown, for contenders that take turns.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf

from pipeline.benchmarking.photo_like import photo_like
from pipeline.config import DataConfig
from pipeline.data.train_batches import training_view

BATCH = 32


def contenders(files: list[bytes]) -> dict[str, tf.data.Dataset]:
    """Endless datasets of batches, by name."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    numbered = tf.data.Dataset.from_tensor_slices(files).repeat().enumerate().with_options(options)

    def views(**augmentation) -> tf.data.Dataset:
        config = DataConfig("generated", image_size=224, **augmentation)

        def view(number: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
            seeds = tf.random.experimental.stateless_split(tf.stack([0, number]), 3)
            return training_view(encoded, config, *tf.unstack(seeds))

        return numbered.map(view).batch(BATCH, drop_remainder=True)

    def pixels(number: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_jpeg(encoded, channels=3)[0, 0]

    theirs = keras.layers.RandAugment(value_range=(-1, 1), num_ops=2, factor=0.75)
    return {
        "decode alone": numbered.map(pixels).batch(BATCH, drop_remainder=True),
        "decode, crop, flip": views(),
        "  + RandAugment (2, 15)": views(randaugment_layers=2, randaugment_magnitude=15),
        "  + keras.layers.RandAugment": views().map(lambda batch: theirs(batch, training=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=256, help="images per round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the best counts")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    generator = np.random.default_rng(0)
    files = [photo_like(generator) for _ in range(64)]
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
        print(f"{name:28} {rate:6.0f} images/s   {first / seconds:5.2f}")


if __name__ == "__main__":
    main()
