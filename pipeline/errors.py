"""The error that a person caused and can mend."""

from __future__ import annotations


class UserError(ValueError):
    """Wrong usage or input. The message is one line: which file or key, what was wrong, what is allowed.

    The command line prints it without a traceback and exits with code 2.
    """
