"""The one exception that stands for a mistake a user can mend."""


class UserError(Exception):
    """Bad input, refused before any work.

    The message is one line that says what is wrong, where, and what to do. The commands print it to standard error
    without a traceback and leave with a status that is not 0.
    """
