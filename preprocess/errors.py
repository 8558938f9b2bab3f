"""The errors that a user is meant to read."""


class WholewordError(Exception):
    """A problem that the person who runs a command can mend.

    The message is one line that names the file (and line, where there is one), the cause and
    the remedy. Commands print it without a traceback and exit with status 1.
    """
