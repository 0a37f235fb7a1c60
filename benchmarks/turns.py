"""Contenders of a benchmark, each in a process of its own that may use all cores, taking turns.

All contenders of a table are alive at once: what else the machine does meanwhile falls on all of
them, and no library's thread pool disturbs another's.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from pipeline.process.tensorflow_startup import prefer_onednn

OURS = "ours"
BATCH = {"Ti/16": 16, "S/16": 8, "B/16": 4}
TOO_SLOW = 10
"""A contender this many times slower than the fastest has had its last turn."""
RunSteps = Callable[[int], None]
Make = Callable[[str, int, str], RunSteps]
"""Makes a contender for a variant, a batch and a precision."""


def main(
    doc: str,
    script: str,
    tables: dict[str, dict[str, Make]],
    extensive: set[str],
    batches: dict[str, list[int]] | None = None,
) -> None:
    """Command line of a benchmark of ViTs.

    Args:
        doc: its docstring.
        script: its file, which is started again for each contender.
        tables: contenders by name, by table; a table's name begins with its precision.
        extensive: contenders that --quick leaves out.
        batches: of each variant; None: BATCH.
    """
    batches = batches or {variant: [batch] for variant, batch in BATCH.items()}
    precisions = list(dict.fromkeys(map(_precision, tables)))
    parser = argparse.ArgumentParser(description=doc.split("\n", maxsplit=1)[0])
    parser.add_argument("--variants", nargs="+", help=f"models; default: {', '.join(batches)}")
    parser.add_argument(
        "--batches", nargs="+", type=int, help=f"images; without it {batches}, otherwise 4"
    )
    parser.add_argument("--precisions", nargs="+", default=precisions)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument(
        "--quick", action="store_true", help="Ti/16, 2 turns of 2 steps, nothing slow to compile"
    )
    parser.add_argument("--only", nargs="+", help="contenders to run, by their names in the table")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        table, name = options.serve
        make, variant = tables[table][name], options.variants[0]
        serve(lambda: make(variant, options.batches[0], _precision(table)))
        return
    prefer_onednn()  # for all contenders in TensorFlow, keras-hub's too
    turns, steps = (2, 2) if options.quick else (options.turns, options.steps)
    for variant in options.variants or (["Ti/16"] if options.quick else list(batches)):
        of_variant = options.batches or batches.get(variant, [4])
        for batch, (table, contenders) in itertools.product(of_variant, tables.items()):
            if _precision(table) not in options.precisions:
                continue
            command = [sys.executable, script, "--variants", variant, "--batches", str(batch)]
            commands = {
                name: [*command, "--serve", table, name]
                for name in contenders
                if (not options.only or name in options.only)
                and not (options.quick and name in extensive)
            }
            measure(f"{variant}, batch {batch}, {table}", commands, batch, turns, steps)


def _precision(table: str) -> str:
    return table.partition(",")[0]


def serve(make: Callable[[], RunSteps]) -> None:
    """Be a contender: so many steps for each line read, their seconds and the memory written."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        run_steps = make()
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

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.peak_gb = 0.0
        self.started = time.perf_counter()
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


def measure(title: str, commands: dict[str, list[str]], batch: int, turns: int, steps: int) -> None:
    """Time contenders turn by turn and print a table: the fastest turn of each, beside the peers'.

    Args:
        title: printed above.
        commands: by name; those whose name begins with OURS are not peers.
        batch: images in a step.
        turns: how often each runs; those that are hopelessly slow in the first run no more.
        steps: steps in a turn, after a first turn of one.
    """
    running, left_out, first = [], {}, {}
    for name, command in commands.items():  # one by one, so that none disturbs another's start
        contender = Contender(name, command)
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
    for turn in range(turns):
        for contender in list(running):
            name = contender.name
            if turn and rates[name] < max(rates.values()) / TOO_SLOW:
                continue
            count = steps if turn else 1
            try:
                rate = count * batch / contender.run(count)
            except RuntimeError as error:
                left_out[name] = str(error)
                running.remove(contender)
                rates.pop(name, None)
                continue
            rates[name] = max(rate, rates.get(name, 0.0))
    for contender in running:
        contender.close()
    peers = [rates[c.name] for c in running if not c.name.startswith(OURS)]
    print(f"\n{title}")
    print(f"  {'':38}images/s  ms a step  to the fastest peer  first step   memory")
    for contender in running:
        name = contender.name
        ratio = f"{rates[name] / max(peers):.2f}" if peers else ""
        print(
            f"  {name:38}{rates[name]:8.2f}{1000 * batch / rates[name]:11.1f}{ratio:>21}"
            f"{first[name]:10.1f} s{contender.peak_gb:7.1f} GB"
        )
    for name, reason in left_out.items():
        print(f"  left out: {name}: {reason}")
    sys.stdout.flush()
