"""The one error that is the user's to mend, and the one end of a training that is not its end."""


class UserError(ValueError):
    """Bad input from a person: the message is one line that names the value and the remedy.

    The command line prints it without a traceback and exits with status 2.
    """


class Interrupted(Exception):
    """A training was told to go, and has saved. The command line exits with status 75, "try again" (sysexits.h)."""
