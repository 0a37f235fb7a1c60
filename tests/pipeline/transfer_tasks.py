"""A small downstream task, and an evaluation of it."""

import numpy as np
from dataset_folders import encode

from pipeline.evaluation.tasks.task_config import TransferData
from pipeline.evaluation.transfer.transfer_config import TransferConfig

CLASS_NAMES = ("left", "right", "both")


def stripes(count, seed):
    """Images in which one half, the other, or both are bright."""
    generator = np.random.default_rng(seed)
    for index in range(count):
        label = index % 3
        pixels = generator.integers(0, 160, (12, 20, 3), np.uint8)
        if label in (0, 2):
            pixels[:, :10] += 95
        if label in (1, 2):
            pixels[:, 10:] += 95
        yield encode(pixels), label, f"{seed}-{index}"


def config(inputs, output, **options):
    data = TransferData(source=str(inputs / "stripes"))
    return TransferConfig(model=str(inputs / "model"), data=data, output=str(output), **options)
