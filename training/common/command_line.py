"""What every command is: settings from its flags, work, and an end that a shell understands."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import NoReturn, TypeVar

import tyro

from common.errors import UserError
from common.settings import old_flags
from common.stop_signals import Stopped, StopSignals

T = TypeVar("T")

WIDEST = 10_000  # columns of a refusal's longest line


def parse(kind: type[T], arguments: Sequence[str] | None, description: str | None, default: T | None = None,
          program: str | None = None) -> T:
    """A settings dataclass from the command line (None: this process's own); underscores or hyphens alike.

    Prints what is wrong, behind the program's name and "error:", and exits with status 2 on a flag or a value that does
    not fit, or holds bytes that are no UTF-8; of a flag that was renamed, its new name.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for argument in arguments:
        if (shown := argument.encode(errors="backslashreplace").decode()) != argument:  # what Python escapes such as
            refuse(f"{shown}: holds bytes that are no UTF-8; write words in UTF-8, and rename such a file or folder",
                   program)
    renamed = old_flags(kind)
    for flag in (argument.removeprefix("--").split("=")[0].replace("-", "_") for argument in arguments
                 if argument.startswith("--")):
        if flag in renamed:
            refuse(f"--{flag} is called --{renamed[flag]} now", program)
    extra = {} if default is None else {"default": default}
    said = io.StringIO()
    try:
        with redirect_stderr(said), _wide(arguments):
            return tyro.cli(kind, args=arguments, description=description, prog=program,
                            use_underscores=True, **extra)
    except (ValueError, OSError) as error:  # the dataclass's own checks; a help text on a full disk
        refuse(str(error), program)
    except SystemExit as leaving:
        if not leaving.code:  # --help
            raise
        refuse(_unboxed(said.getvalue()), program)


def refuse(message: str, program: str | None = None) -> NoReturn:
    """Print what is wrong with the command line, behind the name of the program, and exit with status 2.

    program: the name, with what else its help text has behind it; None: that of this process.
    """
    name = program.split()[0] if program else Path(sys.argv[0]).name
    print(f"{name}: error: {message}", file=sys.stderr)
    sys.exit(2)


@contextmanager
def _wide(arguments: Sequence[str]) -> Iterator[None]:
    """Let tyro write a refusal without breaking its lines; a help text is as wide as the terminal."""
    found = os.environ.get("COLUMNS")
    if not {"-h", "--help"} & set(arguments):
        os.environ["COLUMNS"] = str(WIDEST)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if found is not None:
            os.environ["COLUMNS"] = found


def _unboxed(text: str) -> str:
    """tyro's refusal without its frame: what is wrong on the first line, then what was meant perhaps, a line each.

    The frame is of lines or, where the output is not UTF-8, of hyphens and spaces; its first row has a title.
    """
    rows = [row.strip(" │") for row in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()[1:-1]]
    parts = [" ".join(part.split()) for part in re.split(r"^[─-]{3,}$", "\n".join(rows), flags=re.MULTILINE)]
    parts = [part for part in parts if part and not part.startswith(("For full helptext", "Argument helptext"))]
    wrong, *more = parts or ["the command line cannot be read"]
    return "\n  ".join([re.sub(r"^Error parsing (\w+: )?", "", wrong), *more, "--help lists all flags"])


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
