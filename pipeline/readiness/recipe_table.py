"""Many recipes side by side, each on the TPU or GPU that its first lines name: a Markdown table.

A row tells the memory of a replica by the estimate and by the compiler, and what the compiled step
may reach. A recipe that the compiler has no time for keeps the estimate alone.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from groundwork.errors import JobError, UserError
from groundwork.recipes import SUFFIX, load_recipe, recipe_folder
from pipeline.process.check import gigabytes
from pipeline.readiness.compilers.compile_step import TooLarge
from pipeline.readiness.compilers.report import StepReport, policy_of, report_step
from pipeline.readiness.compilers.targets import Target, find_target, target_names
from pipeline.readiness.dataset_sizes import dataset_size
from pipeline.readiness.memory import USABLE, estimate_of
from pipeline.readiness.preflight_config import PreflightConfig
from pipeline.recipe.run_config import PretrainConfig

OF_OTHER_COMMANDS = ("fine_tune", "members")
"""Options that recipes of `pipeline.transfer` and `pipeline.compute_study` have."""
HEAD = (
    "recipe",
    "hardware",
    "images at once",
    "memory, estimated",
    "compiled",
    "of",
    "fits",
    "step at least",
    "MFU at most",
    "hours at least",
)


@dataclass(frozen=True)
class Row:
    """A recipe on its hardware.

    Attributes:
        recipe: its name.
        target: the hardware.
        microbatch: images that a replica computes at once.
        estimated: bytes on a replica, by formula.
        compiled: what the compiler made of it; None: it had no time, or no room.
        too_large: whether the compiler found no room.
        total_steps: of the run; None: not known.
    """

    recipe: str
    target: Target
    microbatch: int
    estimated: int
    compiled: StepReport | None
    too_large: bool
    total_steps: int | None

    @property
    def fits(self) -> bool:
        """By the compiler, and where that was not asked by the estimate."""
        if self.compiled is not None:
            return self.compiled.memory.left >= 0
        return not self.too_large and self.estimated <= USABLE * self.target.memory_bytes

    def cells(self) -> list[str]:
        """Of the table."""
        known = self.compiled
        step = mfu = hours = compiled = "–"
        if known is not None:
            compiled = gigabytes(known.memory.total)
            seconds = known.bounds.step_seconds
            step, mfu = f"{1e3 * seconds:.0f} ms ({known.bounds.limit})", f"{known.bounds.mfu:.0%}"
            if self.total_steps is not None:
                hours = f"{seconds * self.total_steps / 3600:.3g}"
        elif self.too_large:
            compiled = "refused"
        return [
            self.recipe,
            self.target.name,
            str(self.microbatch),
            gigabytes(self.estimated),
            compiled,
            gigabytes(self.target.memory_bytes),
            "yes" if self.fits else "no",
            step,
            mfu,
            hours,
        ]


def runs_of(
    names: Sequence[str], target: Target | None, parse: Callable[[str], PreflightConfig]
) -> list[tuple[str, PreflightConfig, Target]]:
    """Name, resolved options and hardware of each recipe; what is left out is told on stderr.

    Args:
        names: files and folders; none: the shipped recipes.
        target: hardware of all; None: what each recipe's first lines name.
        parse: resolves the options of a recipe, by its path.

    Raises:
        UserError: a name that stands for nothing, or a recipe that cannot be.
    """
    runs = []
    for path in recipe_files(names or [str(recipe_folder())]):
        name = recipe_name(path)
        hardware = target.name if target else named_hardware(path)
        if any(option in load_recipe(path) for option in OF_OTHER_COMMANDS):
            print(f"{name}: left out: no recipe of pipeline.pretrain", file=sys.stderr)
        elif hardware is None:
            print(f"{name}: left out: its first lines name no TPU or GPU", file=sys.stderr)
        else:
            runs.append((name, parse(str(path)), target or find_target(hardware)))
    if not runs:
        raise UserError("recipes: there is none to compile: name others, or a target")
    return runs


def recipe_files(names: Sequence[str]) -> list[Path]:
    """The recipes among files and folders, with all below them, each once.

    Files whose name begins with `_` hold what others extend, and other files are no recipes.

    Raises:
        UserError: a name that stands for nothing.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if not path.exists():
            raise UserError(f"recipes: {name}: there is no such file or folder")
        below = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        found |= dict.fromkeys(
            file.resolve()
            for file in below
            if file.suffix == SUFFIX and not file.name.startswith("_")
        )
    return list(found)


def named_hardware(path: Path) -> str | None:
    """The first TPU slice or GPU that a recipe's first lines name, such as v3-32; None: none."""
    lines = path.read_text(encoding="utf-8").splitlines()
    said = next((line for line in lines if line.startswith("# Hardware:")), "")
    for word in re.findall(r"\w+(?:-\d+)?", said.lower()):
        if word.partition("-")[0] in target_names():
            return str(word)
    return None


def recipe_name(path: Path) -> str:
    """As `--config` takes it, where it is shipped."""
    folder = recipe_folder().resolve()
    if path.is_relative_to(folder):
        return path.relative_to(folder).with_suffix("").as_posix()
    return str(path)


def print_table(runs: Iterable[tuple[str, PreflightConfig, Target]]) -> bool:
    """Print a row as soon as it is known; returns whether all fit.

    Args:
        runs: name, resolved options and hardware of each recipe.

    Raises:
        UserError: a batch that cannot be shared out, or a compiler that is not installed.
    """
    fit = True
    print(_line(HEAD), _line(["---"] * len(HEAD)), sep="\n", flush=True)
    for row in _rows(runs):
        print(_line(row.cells()), flush=True)
        fit &= row.fits
    return fit


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(runs: Iterable[tuple[str, PreflightConfig, Target]]) -> Iterator[Row]:
    for name, config, target in runs:
        classes, images, _ = dataset_size(config)
        report, too_large = None, False
        try:
            report = report_step(
                config, target, num_classes=classes, time_limit=config.compile_seconds
            )
        except TooLarge as error:
            too_large = True
            print(f"{name}: {error}", file=sys.stderr)
        except JobError as error:
            print(f"{name}: estimated alone: {error}", file=sys.stderr)
        yield Row(
            recipe=name,
            target=target,
            microbatch=config.batch_size // target.chips // config.accumulate,
            estimated=estimated_bytes(config, target, classes),
            compiled=report,
            too_large=too_large,
            total_steps=config.steps if images is None else config.planned_steps(images),
        )
        # Keras keeps what it has traced.
        keras.backend.clear_session()
        gc.collect()


def estimated_bytes(config: PretrainConfig, target: Target, num_classes: int) -> int:
    """Memory of one replica of `target`, by formula; nothing is compiled."""
    return estimate_of(
        config,
        num_classes=num_classes,
        policy=policy_of(config, target),
        replicas=target.chips,
        device=target.device,
    ).total
