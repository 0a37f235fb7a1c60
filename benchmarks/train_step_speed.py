"""Whole training steps, images per second: ours beside Keras' `fit`, Hugging Face's and Flax.

    python benchmarks/train_step_speed.py                # about half an hour on 2 cores
    python benchmarks/train_step_speed.py --quick        # Ti/16 alone, a few minutes

The same ViT, batch and precision for each: forward, softmax cross-entropy, backward, clipping by
global norm, AdamW. `benchmarks/requirements.txt` lists the peers; one whose packages are missing is
named and left out. All contenders of a table are alive at once, each in a process of its own that
may use all cores, and take turns: what else the machine does meanwhile falls on all of them. The
table shows the fastest of the turns and its ratio to the fastest peer, the time from the start of
the process to the end of its first step, and the process's peak memory.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import turns  # noqa: E402 - found through the path set above
from train_step_peers import CONTENDERS, EXTENSIVE  # noqa: E402

if __name__ == "__main__":
    turns.main(__doc__ or "", __file__, CONTENDERS, EXTENSIVE)
