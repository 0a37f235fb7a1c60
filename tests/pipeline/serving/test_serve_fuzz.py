"""Mutated images of every format: an answer or `valid` false, never an error, memory bounded.

SERVE_FUZZ_SECONDS sets for how long: 5 by default, 600 in `make faults`. The seed is printed where
it fails; SERVE_FUZZ_SEED repeats it.
"""

import os
import random
import resource
import time

import numpy as np
import pytest
import tensorflow as tf
from exported_models import export_tiny_vit
from image_files import FILES

from pipeline.serving.loading import open_export

SECONDS = float(os.environ.get("SERVE_FUZZ_SECONDS", "5"))
SEED = int(os.environ.get("SERVE_FUZZ_SEED", "0"))
BATCH = 16
GROWTH_BYTES = 2_000_000_000
FORMATS = list(FILES.values())


def mutated(data: bytes, generator: random.Random) -> bytes:
    """The bytes flipped, cut, repeated, replaced or put together with another file's."""
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        # Headers hold most of what a decoder believes.
        end = min(len(changed), generator.choice((16, 64, 64, 1 << 30)))
        place = generator.randrange(end)
        length = generator.choice((1, 1, 2, 4, 40))
        kind = generator.randrange(6)
        if kind == 0:
            changed[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            changed[place] = generator.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del changed[place : place + length]
        elif kind == 3:
            changed[place:place] = changed[place : place + length] * generator.randrange(1, 9)
        elif kind == 4:
            changed[place : place + length] = generator.randbytes(length)
        else:
            changed[place:] = generator.choice(FORMATS)[place:]
    return bytes(changed)


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    export_tiny_vit(folder)
    export = open_export(str(folder))
    return export.saved_model.signatures["serve"], export  # the signature does not hold the model


def test_mutated_images_are_answered_or_not_valid(serve):
    signature, _ = serve
    original = FORMATS[0]
    expected = signature(image_bytes=tf.constant([original]))["logits"].numpy()[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    end, seed, answered, refused = time.monotonic() + SECONDS, SEED, 0, 0
    while time.monotonic() < end:
        generator = random.Random(seed)
        files = [mutated(generator.choice(FORMATS), generator) for _ in range(BATCH - 1)]
        answer = signature(image_bytes=tf.constant([original, *files]))
        valid, logits = answer["valid"].numpy(), answer["logits"].numpy()
        # The good image of the batch is answered as ever; batches sum in another order.
        assert valid[0], f"seed {seed}"
        np.testing.assert_allclose(logits[0], expected, atol=1e-4, err_msg=f"seed {seed}")
        assert np.isfinite(logits).all() and not logits[~valid].any(), f"seed {seed}"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        assert grown < GROWTH_BYTES, f"seed {seed}: {grown / 1e6:.0f} MB"
        answered, refused, seed = answered + valid.sum(), refused + (~valid).sum(), seed + 1
    assert answered > seed - SEED and refused  # neither is all that was seen
