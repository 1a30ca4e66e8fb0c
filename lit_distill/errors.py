"""Errors that a user can act on."""


class LitDistillError(Exception):
    """Bad input or a missing ingredient.

    The message is one line: it names the file, key or command that is at fault and the remedy. The
    command line prints it without a traceback and exits with status 2.
    """


class InfrastructureError(Exception):
    """Something beyond this program does not work: a teacher's server that answers nonsense, say.

    No bad input: an episode that meets it is done again, and one that meets it every time is an `error`,
    never a failure. The message is one line; the command line prints it as it prints a LitDistillError.
    """


class TeacherUnavailable(InfrastructureError):
    """A teacher's server could not be reached for as long as its settings allow: asking on is of no use."""
