"""What a user can mend: one base class for every error that ends a command with a message and no traceback."""

from __future__ import annotations


class UserError(Exception):
    """A flag or an input that cannot be used; the message names it and says what would be right."""


class DivergenceError(UserError):
    """A loss that is not finite; the update that it would have made was not made."""


def first_line(error: BaseException) -> str:
    """The first line of another library's message, 300 characters at most; its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
