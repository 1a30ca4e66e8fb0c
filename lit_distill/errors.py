"""Errors that a user can act on."""


class LitDistillError(Exception):
    """Bad input or a missing ingredient.

    The message is one line: it names the file, key or command that is at fault and the remedy. The
    command line prints it without a traceback and exits with status 2.
    """
