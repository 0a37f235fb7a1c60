"""Forward and backward pass, images per second: `vit_keras` beside its peers.

    python benchmarks/model_speed.py                # Ti/16, S/16, B/16: about an hour on 2 cores
    python benchmarks/model_speed.py --quick        # Ti/16 alone, a few minutes

The same ViT, batch and precision from keras-hub, Hugging Face (PyTorch, eager and compiled) and
Flax; bfloat16 is Keras' mixed_bfloat16, PyTorch's autocast, Flax' dtype. The contenders take turns,
as in train_step_speed.py, and the table reads like its.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import turns  # noqa: E402 - found through the path set above
from model_peers import CONTENDERS, EXTENSIVE  # noqa: E402

if __name__ == "__main__":
    turns.main(__doc__ or "", __file__, CONTENDERS, EXTENSIVE)
