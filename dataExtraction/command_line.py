"""How the command begins and ends: settings from its flags, one message for a mistake, nothing left when stopped."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from errors import UserError
from options import Options
from plans import NAMES_FILE


def run(work: Callable[[Options], None], description: str | None) -> None:
    """Do the work that the command line asks for.

    Exits with status 2, after a message, where the user can put something right (UserError, a flag that does not fit, a
    full disk behind the output), and with 128 plus the signal's number where it was stopped by Ctrl-C, SIGTERM or, but
    for nohup, SIGHUP.
    """
    import tyro  # here, for the processes that draw import this file too

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        arguments = _spelled_out(_in_utf8(sys.argv[1:]))
        work(tyro.cli(Options, args=arguments, use_underscores=True, description=description))
        _flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        # A signal between a lock's release and what takes it back leaves as the lock's own complaint.
        if not isinstance(error.__context__, SystemExit):
            raise
        sys.exit(error.__context__.code)


def _in_utf8(arguments: list[str]) -> list[str]:
    """The arguments as they are. Raises UserError where one holds bytes that are no UTF-8."""
    for argument in arguments:
        if (shown := argument.encode(errors="backslashreplace").decode()) != argument:  # Python escapes such bytes
            raise UserError(f"{shown}: holds bytes that are no UTF-8; rename such a file or folder")
    return arguments


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        raise UserError(f"the output cannot be written ({error.strerror})") from None


def _spelled_out(arguments: list[str]) -> list[str]:
    """The arguments with the file of a --names that names none."""
    spelled_out = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        spelled_out.append(argument)
        if argument == "--names" and following.startswith("--"):
            spelled_out.append(str(NAMES_FILE))
    return spelled_out


def _stop(number: int, frame: object) -> None:
    """On Ctrl-C, SIGTERM and SIGHUP: leave through every `finally`, so that nothing half-written stays."""
    with suppress(OSError):  # not by print: a signal may come in while the progress bar is being written
        os.write(2, b"\nstopped; nothing half-written is left\n")
    raise SystemExit(128 + number)
