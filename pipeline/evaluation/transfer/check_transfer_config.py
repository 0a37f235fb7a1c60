"""Settings of transfer evaluation that cannot be, found before anything is computed."""

from __future__ import annotations

from groundwork.errors import UserError
from pipeline.evaluation.protocols.checks import check_positive
from pipeline.evaluation.transfer.transfer_config import PROTOCOL_NAMES, TransferConfig


def check_transfer_config(config: TransferConfig) -> None:
    """Check what types cannot say.

    Raises:
        UserError: names the option and what it takes.
    """
    if bool(config.data.source) == bool(config.tasks):
        raise UserError("give either data.source or tasks, such as --tasks vtab/natural")
    known = ", ".join(PROTOCOL_NAMES)
    if not config.protocols:
        raise UserError(f"protocols is empty: name at least one of {known}")
    if unknown := [name for name in config.protocols if name not in PROTOCOL_NAMES]:
        raise UserError(f"protocols: there is no {unknown[0]}; there are {known}")
    for protocol in config.chosen_protocols().values():
        protocol.check()
    _check_extra_tests(config)
    check_positive("batch_size", [config.batch_size])
    if config.attention_images < 0:
        raise UserError(f"attention_images is {config.attention_images}: give 0 or more")


def check_multi_label(config: TransferConfig) -> None:
    """Raise a UserError where a protocol does not know images with any number of labels."""
    for name, protocol in config.chosen_protocols().items():
        if not protocol.MULTI_LABEL:
            fine_tune = "; to fine-tune, vit pretrain --objective multi_label --init_from MODEL"
            raise UserError(
                f"protocol {name} needs images with one label, and those of {config.data.source} "
                f"have any number: choose few_shot or linear_probe"
                f"{fine_tune * (name == 'fine_tune')}"
            )


def _check_extra_tests(config: TransferConfig) -> None:
    if config.tasks and config.extra_tests:
        raise UserError("extra_tests belong to data.source, not to tasks: leave one of them out")
    headings = [test.heading for test in config.extra_tests]
    if twice := [heading for heading in headings if headings.count(heading) > 1]:
        raise UserError(f"extra_tests: two are called {twice[0]}: give them a name each")
