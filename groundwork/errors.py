"""The errors that a command reports in one line."""

TRY_AGAIN = 75
"""Exit status (EX_TEMPFAIL of sysexits.h) on which a supervisor starts the same command again."""


class UserError(Exception):
    """Bad input. Its message names the culprit and the remedy, in one line."""

    exit_status = 2


class JobError(UserError):
    """A job that was started and could not finish. One line that says why."""

    exit_status = 1


class DiskFull(UserError):
    """There is no space left to write to. What was written before is kept."""

    exit_status = 1


class StorageFault(JobError, OSError):
    """A bucket or a server could not be reached, or refused. What was written before is kept."""


class TrainingDiverged(UserError):
    """The loss is no longer finite. The last good checkpoint is kept."""

    exit_status = 1


class InputFailed(UserError):
    """A training batch could not be read or made. The last good checkpoint is kept."""

    exit_status = 1


class WorkerLost(UserError):
    """Another worker of the run is gone. The last good checkpoint is kept."""

    exit_status = TRY_AGAIN


def one_line(error: BaseException, length: int | None = 300) -> str:
    """The message of another library's error without line breaks, or the error's name if empty.

    A message of more than `length` characters is cut and ends in dots; None: it is whole.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if length is None or len(text) <= length else text[: length - 3] + "..."
