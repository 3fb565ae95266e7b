"""What comes first in every command, before the libraries load: signals, output streams, torch's environment.

    from common.startup import prepare_process

    if __name__ == "__main__":
        prepare_process()

    # isort: split
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import common.torch_environment  # noqa: F401 - before torch

_found: dict[int, object] = {}  # the handlers that prepare_process took the place of


def prepare_process() -> None:
    """Make this process end plainly on a signal while the libraries load, and print whatever happens to its output.

    Until StopSignals takes over nothing has begun, so SIGINT and SIGTERM end the process at once, without a traceback.
    What is printed is dropped, and the work goes on, where the reader is gone (`| head -1`, a terminal that was
    closed); a character that the terminal's encoding lacks is printed as its escape. A descriptor that was closed leads
    nowhere, or the next file to be opened would take its number and get the output.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        _found[number] = signal.signal(number, _end)
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if (found := getattr(sys, name)) is getattr(sys, f"__{name}__"):  # nobody has put another in its place
            setattr(sys, name, _stream(found, descriptor))


def give_back_signals() -> None:
    """Put back the handlers that prepare_process found, for a command that has StopSignals for none of its work."""
    while _found:
        number, handler = _found.popitem()
        signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    with suppress(OSError):
        os.write(2, f"stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)


def _stream(found: io.TextIOWrapper | None, descriptor: int) -> io.TextIOWrapper:
    """A stream in place of one that Python opened, or did not open where the descriptor was closed."""
    settings = {"encoding": "utf8", "line_buffering": True} if found is None else {
        "encoding": found.encoding, "line_buffering": found.line_buffering, "write_through": found.write_through}
    return io.TextIOWrapper(io.BufferedWriter(_Output(descriptor)), errors="backslashreplace", **settings)


class _Output(io.RawIOBase):
    """A descriptor to write to, also when nobody reads it any more."""

    def __init__(self, descriptor: int) -> None:
        """Remember the descriptor, which stays open when this is closed."""
        self._descriptor = descriptor
        self._gone = {errno.EPIPE, errno.EIO} if os.isatty(descriptor) else {errno.EPIPE}
        self._failed = False

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: memoryview) -> int:
        """Write, or drop what nobody reads. Raises OSError once, as where the disk is full; then all is dropped."""
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            is_known, self._failed = self._failed or error.errno in self._gone, True
            if not is_known:
                raise
            return len(data)
