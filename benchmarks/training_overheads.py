"""What a run costs beside its steps: start-up, checkpoints, memory, a second device.

    python benchmarks/training_overheads.py            # about 20 minutes on 2 cores
    python benchmarks/training_overheads.py --quick    # under 3 minutes

The job trains on drawn letters enlarged to 224 pixels. The first line is of whole runs of it, each
in a process of its own; of several the fastest counts.

start-up: from the start of the process to the end of its first step, TensorFlow's import included.
step: median time of a step while no checkpoint is written.
wait: what training waits for a checkpoint, a copy of the state in memory; median of the saves.
writing: what the steps lose to the thread that writes it: the time of the steps in the first half
    of an interval between saves minus that of those in the second; median of all. With cores to
    spare it is 0; other work on the machine may make it negative.
at 1,000: share of the time that both take at the default of a checkpoint every 1,000 steps.
memory: peak of the process. (`python -m pipeline.preflight` estimates it before a run.)

The second line is of the train step on one and on two logical devices, which take turns in one
process. They share the cores: a ratio of 1 means that the all-reduce and the second copy of the
weights cost nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from turns import BATCH  # noqa: E402 - beside this file

from groundwork import command_line  # noqa: E402 - found through the path set above
from pipeline.data.data_config import DataConfig  # noqa: E402
from pipeline.recipe.run_config import PretrainConfig  # noqa: E402
from pipeline.training.loop.loop_options import LogConfig  # noqa: E402
from pipeline.training.model.model_config import ModelConfig  # noqa: E402
from pipeline.training.optimizers.optim_config import OptimConfig  # noqa: E402
from pipeline.training.state.checkpoint_config import CheckpointConfig  # noqa: E402

DEFAULT_INTERVAL = CheckpointConfig().every_steps
FORMAT = "{:7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}"


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one run cost; times in seconds."""

    start_up: float
    step: float
    wait: float
    writing: float
    peak_gb: float

    @property
    def share(self) -> float:
        """Of the time, that checkpoints take at the default interval."""
        lost = self.wait + max(0.0, self.writing)
        return lost / (lost + DEFAULT_INTERVAL * self.step)


def read(config_file: str) -> PretrainConfig:
    """In a child process: what it is to run."""
    return command_line.parse(PretrainConfig, ["--config", config_file], prog="pretrain")


def step_seconds(config: PretrainConfig, turns: int) -> dict[int, float]:
    """Fastest time of a step on one and on two logical devices, by their number."""
    import tensorflow as tf

    from pipeline.data.batches.distributed_batches import distributed_train_batches, training_order
    from pipeline.data.dataset.source import open_source
    from pipeline.devices.strategy import mirrored_strategy
    from pipeline.training.model.build_model import build_model
    from pipeline.training.state.train_state import TrainState
    from pipeline.training.step.train_step import make_train_step

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    source = open_source(config.data.source)
    steps = {}
    for devices in (1, 2):
        strategy = mirrored_strategy(devices)
        with strategy.scope():
            model = build_model(
                config.model, config.data.height_width, source.num_classes, seed=config.seed
            )
            state = TrainState(model, config.optim, seed=0)
        step = make_train_step(strategy, state, config, total_steps=1000, jit_compile=False)
        split = source.split("train")
        batch = next(
            iter(
                distributed_train_batches(
                    strategy,
                    training_order(config, config.data, split, config.seed),
                    split,
                    config.data,
                    0,
                )
            )
        )
        steps[devices] = (step, batch)
    fastest = dict.fromkeys(steps, float("inf"))
    for turn in range(turns + 1):
        for devices, (step, batch) in steps.items():
            started = time.perf_counter()
            step(*batch)["loss"].numpy()
            if turn:  # the first one compiles
                fastest[devices] = min(fastest[devices], time.perf_counter() - started)
    return fastest


def measure(config: PretrainConfig) -> Cost:
    """Run `config` in a child process and read what it cost."""
    workdir = Path(config.workdir)
    file = workdir.with_suffix(".yaml")
    file.write_text(command_line.to_yaml(config))
    log = workdir / "metrics.jsonl"
    command = [sys.executable, __file__, "--train", str(file)]
    started = time.perf_counter()
    errors = workdir.with_suffix(".err")
    with errors.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT  # looks, and leaves it to wait4
    while not (log.exists() and log.stat().st_size) and not os.waitid(os.P_PID, process.pid, ended):
        time.sleep(0.02)
    start_up = time.perf_counter() - started
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(errors.read_text()[-2000:] + f"\nthe run of {config.model.variant} failed")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    every = config.checkpoint.every_steps
    seconds = {r["step"]: r["speed/step_seconds"] for r in rows if "speed/step_seconds" in r}
    waits = [row["speed/checkpoint_seconds"] for row in rows if "speed/checkpoint_seconds" in row]
    assert config.steps is not None
    saves = range(every, config.steps - every + 1, every)
    busy = {save: range(save + 1, save + every // 2 + 1) for save in saves}
    quiet = {save: range(save + every // 2 + 1, save + every + 1) for save in saves}
    return Cost(
        start_up=start_up,
        step=statistics.median(seconds[step] for steps in quiet.values() for step in steps),
        wait=statistics.median(waits),
        writing=statistics.median(
            sum(seconds[step] for step in busy[save]) - sum(seconds[step] for step in quiet[save])
            for save in saves
        ),
        peak_gb=usage.ru_maxrss / 1e6,
    )


def best(costs: list[Cost]) -> Cost:
    """The least over several runs, as other work only adds to it; a difference has no least."""
    return Cost(
        start_up=min(cost.start_up for cost in costs),
        step=min(cost.step for cost in costs),
        wait=min(cost.wait for cost in costs),
        writing=statistics.median(cost.writing for cost in costs),
        peak_gb=min(cost.peak_gb for cost in costs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--variants", nargs="+", choices=list(BATCH))
    parser.add_argument("--rounds", type=int, default=3, help="whole runs of each variant")
    parser.add_argument("--interval", type=int, default=12, help="steps between checkpoints, even")
    parser.add_argument("--turns", type=int, default=10, help="steps on one and on two devices")
    parser.add_argument("--quick", action="store_true", help="one short round of Ti/16 alone")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    parser.add_argument("--scale", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        from pipeline.run.run_stages import run

        sys.exit(run(read(options.train)))
    if options.scale:
        print(json.dumps(list(step_seconds(read(options.scale), options.turns).values())))
        return
    rounds, interval, saves = (1, 4, 2) if options.quick else (options.rounds, options.interval, 3)
    variants = options.variants or (["Ti/16"] if options.quick else ["Ti/16", "B/16"])
    with tempfile.TemporaryDirectory() as folder:
        letters = f"{folder}/letters"
        draw = ["-m", "beam_jobs.render_glyphs", "--output", letters, "--runner", "in_process"]
        draw += ["--per_class", "2", "--validation_per_class", "1"]
        subprocess.run([sys.executable, *draw], cwd=REPOSITORY, check=True, capture_output=True)
        print(FORMAT.format("", "start-up", "step", "wait", "writing", "at 1,000", "memory"))
        for variant in variants:
            batch = BATCH[variant]
            config = PretrainConfig(
                DataConfig(letters, eval_split=None, flip=False),
                workdir=f"{folder}/{variant.replace('/', '')}",
                model=ModelConfig(variant),
                optim=OptimConfig(warmup_steps=2),
                checkpoint=CheckpointConfig(every_steps=interval, keep=1),
                log=LogConfig(every_steps=1, images=0, pictures=False),
                steps=(saves + 1) * interval,
                batch_size=batch,
                strategy="default",
                export=False,
            )
            runs = [
                measure(dataclasses.replace(config, workdir=f"{config.workdir}_{number}"))
                for number in range(rounds)
            ]
            cost = best(runs)
            print(
                FORMAT.format(
                    variant,
                    f"{cost.start_up:.1f} s",
                    f"{cost.step:.3f} s",
                    f"{cost.wait:.3f} s",
                    f"{cost.writing:.2f} s",
                    f"{cost.share:.2%}",
                    f"{cost.peak_gb:.2f} GB",
                ),
                flush=True,
            )
            turns = 4 if options.quick else options.turns
            scale = [__file__, "--scale", f"{config.workdir}_0.yaml", "--turns", str(turns)]
            answer = subprocess.run(
                [sys.executable, *scale], cwd=REPOSITORY, check=True, capture_output=True, text=True
            )
            one, two = json.loads(answer.stdout.splitlines()[-1])
            print(f"{'':7} two devices, batch {batch}: {one / two:.2f} times the images/s of one")


if __name__ == "__main__":
    main()
