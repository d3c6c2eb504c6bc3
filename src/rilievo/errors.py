"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, a folder, a number.

    The message is one sentence that says what, what was expected, what was found and what to do. The command line
    prints it without a traceback and exits with code 2; from Python it is an ordinary `ValueError`.
    """


def clear(what: str, *, expected: str, got: str, do: str) -> UserError:
    """Build a `UserError` in the one shape all of ours have: `what: expected …, got …; do …`."""
    return UserError(f"{what}: expected {expected}, got {got}; {do}")
