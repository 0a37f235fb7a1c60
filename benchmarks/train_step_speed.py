"""Whole training steps, images per second: ours beside Keras' `fit`, Hugging Face's and Flax.

    python benchmarks/train_step_speed.py                # about half an hour on 2 cores
    python benchmarks/train_step_speed.py --quick        # under 8 minutes

The same ViT, batch and precision for each: forward, softmax cross-entropy, backward, clipping by
global norm, AdamW. `benchmarks/requirements.txt` lists the peers; one whose packages are missing is
named and left out. All contenders of a table are alive at once, each in a process of its own that
may use all cores, and take turns: what else the machine does meanwhile falls on all of them. The
table shows the fastest of the turns and its ratio to the fastest peer, the time from the start of
the process to the end of its first step, and the process's peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from train_step_peers import CONTENDERS, EXTENSIVE  # noqa: E402 - found through the path set above

OURS = "ours"
BATCH = {"Ti/16": 16, "S/16": 8, "B/16": 4}


def serve(name: str, variant: str, batch: int, precision: str) -> None:
    """Run in a contender's process: so many steps for each line read, their seconds written."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        run_steps = CONTENDERS[precision][name](variant, batch, precision)
    except ImportError as error:
        print(f"missing {error.name}", file=answers, flush=True)
        return
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        run_steps(int(line))
        seconds = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(seconds, memory, file=answers, flush=True)


class Contender:
    """A contender's process."""

    def __init__(self, name: str, variant: str, batch: int, precision: str) -> None:
        self.name = name
        self.peak_gb = 0.0
        self.started = time.perf_counter()
        command = [sys.executable, __file__, "--serve", name]
        command += ["--variants", variant, "--batch", str(batch), "--precisions", precision]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def start(self) -> str:
        """Wait until the model is made; gives "ready", or why not."""
        return self._read() or "failed to start"

    def first_step(self) -> float:
        """Seconds from the start of the process to the end of its first step."""
        self.run(1)
        return time.perf_counter() - self.started

    def run(self, steps: int) -> float:
        """Seconds that the steps take."""
        assert self.process.stdin is not None
        if self.process.poll() is not None:
            raise RuntimeError("stopped between its steps")
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self._read().split()
        if len(answer) != 2:
            raise RuntimeError("stopped in a step")
        self.peak_gb = float(answer[1])
        return float(answer[0])

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def measure(
    variant: str, batch: int, precision: str, turns: int, steps: int, names: list[str]
) -> None:
    """Time the contenders turn by turn and print the table of one variant and precision."""
    running, left_out, first = [], {}, {}
    for name in names:  # one after another, so that none disturbs another's start
        contender = Contender(name, variant, batch, precision)
        state = contender.start()
        try:
            if state == "ready":
                first[name] = contender.first_step()
                running.append(contender)
        except RuntimeError as error:
            state = str(error)
        if state != "ready":
            left_out[name] = state
            contender.close()
    rates: dict[str, float] = {}
    for _ in range(turns):
        for contender in list(running):
            try:
                rate = steps * batch / contender.run(steps)
            except RuntimeError as error:
                left_out[contender.name] = str(error)
                running.remove(contender)
                continue
            rates[contender.name] = max(rate, rates.get(contender.name, 0.0))
    for contender in running:
        contender.close()
    peers = [rates[c.name] for c in running if not c.name.startswith(OURS)]
    print(f"\n{variant}, batch {batch}, {precision}")
    print(f"  {'':38}images/s  to the fastest peer  first step   memory")
    for contender in running:
        name = contender.name
        ratio = f"{rates[name] / max(peers):.2f}" if peers else ""
        print(
            f"  {name:38}{rates[name]:8.2f}{ratio:>21}{first[name]:10.1f} s"
            f"{contender.peak_gb:7.1f} GB"
        )
    for name, reason in left_out.items():
        print(f"  left out: {name}: {reason}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--variants", nargs="+", default=list(BATCH))
    parser.add_argument("--batch", type=int, help=f"images; without it {BATCH}, otherwise 4")
    parser.add_argument("--precisions", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument(
        "--quick", action="store_true", help="2 turns of 2 steps, without what is slow to compile"
    )
    parser.add_argument("--only", nargs="+", help="contenders to run, by their names in the table")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.variants[0], options.batch, options.precisions[0])
        return
    turns, steps = (2, 2) if options.quick else (options.turns, options.steps)
    for variant in options.variants:
        for precision in options.precisions:
            names = [
                name
                for name in CONTENDERS[precision]
                if (not options.only or name in options.only)
                and not (options.quick and name in EXTENSIVE)
            ]
            batch = options.batch or BATCH.get(variant, 4)
            measure(variant, batch, precision, turns, steps, names)


if __name__ == "__main__":
    main()
