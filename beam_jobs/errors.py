"""Errors that a job reports in one line, without a traceback."""


class UserError(Exception):
    """Bad input. Its message names the culprit and the remedy, in one line. Exit status 2."""


class JobError(Exception):
    """A job that was started and could not finish. One line that says why. Exit status 1."""
