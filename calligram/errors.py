"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Bad input from a person: the message is one line that names the value and the remedy.

    The command line prints it without a traceback and exits with status 2.
    """
