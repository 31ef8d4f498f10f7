"""The error that a person caused and can mend."""

from __future__ import annotations


class UserError(ValueError):
    """Wrong usage or input. The message is one line: which file or key, what was wrong, what is allowed.

    The command line prints it without a traceback and exits with code 2.
    """


class RunFailed(RuntimeError):
    """A run that cannot go on, through nobody's typing. The message is one line: what happened, where the
    run stands, what to do.

    The command line prints it without a traceback and exits with code 1.
    """


class Damaged(Exception):
    """A file that is not what it should be, through a crash or a stranger. The message is one line: which
    file, and what is wrong with it.

    What to do about it depends on who reads: pass it over, measure or compute anew, or refuse.
    """
