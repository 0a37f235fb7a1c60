"""The errors that a command reports in one line."""


class UserError(Exception):
    """Bad input. Its message names the culprit and the remedy, in one line."""

    exit_status = 2


class TrainingDiverged(UserError):
    """The loss is no longer finite. The last good checkpoint is kept."""

    exit_status = 1
