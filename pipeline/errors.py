"""The errors that a command reports in one line."""


class UserError(Exception):
    """Bad input. Its message names the culprit and the remedy, in one line."""

    exit_status = 2


class DiskFull(UserError):
    """There is no space left to write to. What was written before is kept."""

    exit_status = 1


class TrainingDiverged(UserError):
    """The loss is no longer finite. The last good checkpoint is kept."""

    exit_status = 1
