"""A protocol is one file and one row."""

from dataclasses import fields

import pytest

from groundwork import command_line
from groundwork.options import options_of
from pipeline.evaluation.transfer.transfer_config import (
    PROTOCOL_NAMES,
    ProtocolTable,
    TransferConfig,
)

ARGUMENTS = ["--model", "m", "--data.source", "d", "--output", "o"]


def test_every_row_is_an_option_with_its_own_and_is_named_in_the_help():
    options = {option.name: option for option in options_of(TransferConfig)}
    for row in fields(ProtocolTable):
        assert options[row.name].group
        assert row.name in options["protocols"].help
        protocol = getattr(ProtocolTable(), row.name)
        assert protocol.HEADING
        protocol.check()  # the defaults are sound
        own = [name for name in options if name.startswith(f"{row.name}.")]
        assert own == [f"{row.name}.{field.name}" for field in fields(protocol)]


def test_protocols_run_in_the_order_of_the_table_whatever_the_order_asked_for():
    asked = [*reversed(PROTOCOL_NAMES)]
    config = command_line.parse(TransferConfig, [*ARGUMENTS, "--protocols", *asked], prog="")
    assert tuple(config.chosen_protocols()) == PROTOCOL_NAMES


@pytest.mark.parametrize("values", [["5"], ["1", "5"], ["[1, 5]"]])
def test_shots_are_written_as_one_or_several(values):
    config = command_line.parse(TransferConfig, [*ARGUMENTS, "--few_shot.shots", *values], prog="")
    assert config.few_shot.shots in ([5], [1, 5])
