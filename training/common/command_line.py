"""What every command is: settings from its flags, work, and an end that a shell understands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import tyro

from common.errors import UserError
from common.settings import old_flags
from common.stop_signals import Stopped, StopSignals

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str] | None, description: str | None, default: T | None = None,
          program: str | None = None) -> T:
    """A settings dataclass from the command line (None: this process's own); underscores or hyphens alike.

    Prints what is wrong and exits with status 2 on a flag or a value that does not fit, or holds bytes that are no
    UTF-8; of a flag that was renamed, its new name.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for argument in arguments:
        if (shown := argument.encode(errors="backslashreplace").decode()) != argument:  # what Python escapes such as
            refuse(f"{shown}: holds bytes that are no UTF-8; write words in UTF-8, and rename such a file or folder")
    renamed = old_flags(kind)
    for flag in (argument.removeprefix("--").split("=")[0].replace("-", "_") for argument in arguments
                 if argument.startswith("--")):
        if flag in renamed:
            refuse(f"--{flag} is called --{renamed[flag]} now")
    try:
        extra = {} if default is None else {"default": default}
        return tyro.cli(kind, args=arguments, description=description, prog=program,
                        use_underscores=True, **extra)
    except (ValueError, OSError) as error:  # the dataclass's own checks; a help text on a full disk
        refuse(str(error))


def refuse(message: str) -> NoReturn:
    """Print what is wrong with the command line and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def run(work: Callable[[StopSignals], object], when_stopped: str) -> int:
    """Do a command's work, which is given the signals that may stop it; returns the exit status.

    0 where it is done; 1, with a message, where the user can mend what is wrong (UserError) or the disk refuses
    (OSError), also the output's; 128 plus the signal's number where it was stopped, with `when_stopped` said of what is
    left.
    """
    try:
        with StopSignals() as stop:
            work(stop)
            sys.stdout.flush()
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"stopped by {stopped}; {when_stopped}", file=sys.stderr)
        return stopped.exit_status
    return 0
