"""Settings of transfer evaluation that cannot be, found before anything is computed."""

from __future__ import annotations

from groundwork.errors import UserError
from pipeline.evaluation.fine_tuning.fine_tune_recipe import learning_rates
from pipeline.evaluation.transfer.transfer_config import TransferConfig


def check_transfer_config(config: TransferConfig) -> None:
    """Check what types cannot say.

    Raises:
        UserError: names the option and what it takes.
    """
    if bool(config.data.source) == bool(config.tasks):
        raise UserError("give either data.source or tasks, such as --tasks [vtab/natural]")
    if not config.protocols:
        raise UserError("protocols is empty: name at least one, such as few_shot")
    _check_extra_tests(config)
    _check_numbers(config)
    for name, seeds in (
        ("few_shot.seeds", config.few_shot.seeds),
        ("fine_tune.seeds", config.fine_tune.seeds),
    ):
        if not seeds:
            raise UserError(f"{name} is empty: give at least one, such as [0, 1, 2]")
    decay = config.fine_tune.polyak_decay
    if decay is not None and not 0 < decay < 1:
        raise UserError(f"fine_tune.polyak_decay is {decay}: give one between 0 and 1")


def _check_extra_tests(config: TransferConfig) -> None:
    if config.tasks and config.extra_tests:
        raise UserError("extra_tests belong to data.source, not to tasks: leave one of them out")
    headings = [test.heading for test in config.extra_tests]
    if twice := [heading for heading in headings if headings.count(heading) > 1]:
        raise UserError(f"extra_tests: two are called {twice[0]}: give them a name each")


def _check_numbers(config: TransferConfig) -> None:
    fine_tune = config.fine_tune
    positive: dict[str, list[int] | list[float]] = {
        "few_shot.shots": config.few_shot.shots,
        "few_shot.l2": config.few_shot.l2,
        "linear_probe.c": config.linear_probe.c,
        "linear_probe.max_iterations": [config.linear_probe.max_iterations],
        "knn.k": config.knn.k,
        "batch_size": [config.batch_size],
        "fine_tune.batch_size": [fine_tune.batch_size],
        "fine_tune.accumulate": [fine_tune.accumulate],
        "fine_tune.learning_rates": learning_rates(fine_tune),
        "fine_tune.steps": [1 if fine_tune.steps is None else fine_tune.steps],
        "fine_tune.image_size": [1 if fine_tune.image_size is None else fine_tune.image_size],
    }
    for name, values in positive.items():
        if not values or min(values) <= 0:
            raise UserError(f"{name} is {values}: give positive numbers")
    for name, number in (
        ("fine_tune.warmup_steps", fine_tune.warmup_steps or 0),
        ("attention_images", config.attention_images),
    ):
        if number < 0:
            raise UserError(f"{name} is {number}: give 0 or more")
