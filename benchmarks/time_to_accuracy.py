"""CPU seconds to a test accuracy on Fashion-MNIST, this project beside its peers.

    apt-get install dataset-fashion-mnist
    python -m beam_jobs.write_fashion_mnist --output datasets/fashion_mnist
    python benchmarks/time_to_accuracy.py --output time_to_accuracy

60,000 real images to train on, 10,000 to test. Every contender has a model of about 0.8 million
parameters and the same number of images; each in a process of its own, one after the other, on all
cores. What counts is the CPU time of the training steps, input and all, without evaluations and
without the first step, which compiles. The accuracy to reach is 90 %, a little more than the best
classifier of the data set's paper (arXiv 1708.07747: a support vector machine, 89.7 %).

Each contender has its own defaults; with --equal all have the batch, rate, decay, schedule and
augmentation of "ours, AdamW". Recipes are chosen on images held out of the training split:
--train "train[:55000]" --test "train[55000:]".
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

from time_to_accuracy_peers import CONTENDERS, Settings

BATCH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", default="datasets/fashion_mnist", help="dataset folder")
    parser.add_argument("--train", default="train", help="split to train on")
    parser.add_argument("--test", default="test", help="split to test on")
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=600_000, help="views to train on, 10 epochs")
    parser.add_argument("--every", type=int, default=20_000, help="views between two tests")
    parser.add_argument("--target", type=float, default=0.90, help="accuracy to reach")
    parser.add_argument("--equal", action="store_true", help="all with the recipe of ours, AdamW")
    parser.add_argument("--output", default="time_to_accuracy", help="folder of curves and figure")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        run_contender(options)
        return
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    curves = {}
    for name in options.only:
        if found := run_seeds(name, options):
            curves[name] = found
            (folder / "curves.json").write_text(json.dumps(curves, indent=1), encoding="utf-8")
    print(table(curves, options.target))
    draw(curves, options.target, folder / "time_to_accuracy.png")


def run_seeds(name: str, options: argparse.Namespace) -> list[dict[str, list[float]]]:
    """The curves of a contender; none where what it needs is not installed."""
    curves = []
    for seed in options.seeds:
        arguments = [*sys.argv[1:], "--contender", name, "--seeds", str(seed)]
        done = subprocess.run(
            [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode == 3:
            print(f"{name}: {done.stdout.strip()}", flush=True)
            return []
        if done.returncode:
            sys.exit(f"{name} ended with status {done.returncode}")
        curves.append(json.loads(done.stdout.splitlines()[-1]))
        last = curves[-1]
        print(
            f"{name}, seed {seed}: {last['accuracy'][-1]:.4f} in {last['seconds'][-1]:.0f} s",
            flush=True,
        )
    return curves


def run_contender(options: argparse.Namespace) -> None:
    """Train and test in this process; the last line that it prints is the curve."""
    steps = options.images // BATCH
    settings = Settings(
        data=options.data,
        train=options.train,
        test=options.test,
        batch=BATCH,
        steps=steps,
        seed=options.seeds[0],
        equal=options.equal,
    )
    try:
        contender = CONTENDERS[options.contender](settings)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed")
        sys.exit(3)
    curve = {"step": [], "seconds": [], "accuracy": [], "parameters": contender.parameters}
    every = max(1, options.every // BATCH)
    contender.train(1)
    done, seconds = 1, 0.0
    while done < steps:
        count = min(every - done % every, steps - done)
        started = time.process_time()
        contender.train(count)
        seconds += time.process_time() - started
        done += count
        curve["step"].append(done)
        curve["seconds"].append(seconds)
        curve["accuracy"].append(contender.accuracy())
    print(json.dumps(curve))


def reached(curve: dict[str, list[float]], target: float, axis: str) -> float:
    """Where a curve first reaches the target on `axis`; infinite where it does not."""
    points = zip(curve[axis], curve["accuracy"], strict=True)
    return next((place for place, accuracy in points if accuracy >= target), math.inf)


def table(curves: dict[str, list[dict[str, list[float]]]], target: float) -> str:
    """Means over the seeds; inf where one of them does not reach the target."""
    rows = [f"{'':24} parameters  CPU s to {target:.0%}   steps  last accuracy  CPU s in all"]
    for name, found in curves.items():
        seconds, steps = (
            mean(reached(c, target, axis) for c in found) for axis in ("seconds", "step")
        )
        last = [100 * curve["accuracy"][-1] for curve in found]
        spread = max(last) - min(last)
        total = mean(curve["seconds"][-1] for curve in found)
        rows.append(
            f"{name:24} {found[0]['parameters']:10,} {seconds:12.0f} {steps:9.0f} "
            f"{mean(last):8.2f} ± {spread / 2:.2f} {total:13.0f}"
        )
    return "\n".join(rows)


def draw(curves: dict[str, list[dict[str, list[float]]]], target: float, path: Path) -> None:
    """Test accuracy over CPU seconds, the mean of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for name, found in curves.items():
        seconds, accuracy = (
            [mean(values) for values in zip(*(curve[axis] for curve in found), strict=True)]
            for axis in ("seconds", "accuracy")
        )
        axes.plot(seconds, [100 * value for value in accuracy], label=name)
    axes.axhline(100 * target, color="gray", linewidth=0.8)
    axes.set(xlabel="CPU seconds", ylabel="test accuracy, %", ylim=(100 * target - 10, None))
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
