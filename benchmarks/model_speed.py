"""Forward and training time of ViTs beside keras-hub's, Hugging Face's and a Flax ViT.

    python benchmarks/model_speed.py --variants Ti/16 S/16 --batch 8

Needs, beside this project: keras-hub, torch, transformers, jax and flax; a contender whose packages
are missing is named and left out. All contenders of a table are alive at once, each in a process of
its own, and take turns step by step: what else the machine does meanwhile falls on all of them.
The table shows the fastest of the turns, in images per second, and the ratio to the fastest peer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from model_speed_peers import CONTENDERS  # noqa: E402 - found through the path set above

OURS = "vit_keras"


def serve(name: str, variant: str, batch: int, precision: str) -> None:
    """Run in a contender's process: a step for each line read, its seconds written."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        steps = CONTENDERS[precision][name](variant, batch, precision)
    except ImportError as error:
        print(f"missing {error.name}", file=answers, flush=True)
        return
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        steps[line.strip()]()
        print(time.perf_counter() - start, file=answers, flush=True)


class Contender:
    """A contender's process."""

    def __init__(self, name: str, variant: str, batch: int, precision: str) -> None:
        self.name = name
        command = [sys.executable, __file__, "--serve", name]
        command += ["--variants", variant, "--batch", str(batch), "--precisions", precision]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def wait_until_ready(self) -> str:
        """ "ready", or why not."""
        return self._read()

    def step(self, kind: str) -> float:
        """Seconds that one step takes."""
        assert self.process.stdin is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"stopped before its {kind} step")
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        answer = self._read()
        if not answer:
            raise RuntimeError(f"stopped in its {kind} step")
        return float(answer)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


Rates = dict[tuple[str, str], float]


def measure(variant: str, batch: int, precision: str, turns: int, names: list[str]) -> None:
    """Time the contenders turn by turn and print the table of one variant and precision."""
    started = [Contender(name, variant, batch, precision) for name in names]
    missing = {c.name: c.wait_until_ready() for c in started}
    contenders = [c for c in started if missing[c.name] == "ready"]
    rates: Rates = {}
    for kind in ("forward", "train"):
        for turn in range(turns + 1):
            for contender in list(contenders):
                try:
                    rate = batch / contender.step(kind)
                except RuntimeError as error:
                    missing[contender.name] = str(error)
                    contenders.remove(contender)
                    continue
                if turn:  # the first turn compiles
                    key = (contender.name, kind)
                    rates[key] = max(rate, rates.get(key, rate))
    for contender in started:
        contender.close()
    print(f"\n{variant}, batch {batch}, {precision}, images/s (ratio to the fastest peer)")
    for contender in contenders:
        print(f"  {contender.name:34}{_cells(contender.name, rates)}")
    for name, reason in missing.items():
        if reason != "ready":
            print(f"  left out: {name}: {reason or 'failed to start'}")
    sys.stdout.flush()


def _cells(name: str, rates: Rates) -> str:
    cells = []
    for kind in ("forward", "train"):
        peers = [rate for (n, k), rate in rates.items() if k == kind and not n.startswith(OURS)]
        ratio = f" ({rates[name, kind] / max(peers):4.2f})" if peers else ""
        cells.append(f"{kind} {rates[name, kind]:7.1f}{ratio}")
    return "   ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=["Ti/16", "S/16", "B/16"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precisions", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="contenders to run, by their names in the table")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.variants[0], options.batch, options.precisions[0])
        return
    for variant in options.variants:
        for precision in options.precisions:
            names = [n for n in CONTENDERS[precision] if not options.only or n in options.only]
            measure(variant, options.batch, precision, options.turns, names)


if __name__ == "__main__":
    main()
