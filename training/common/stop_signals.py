"""SIGTERM, Ctrl-C, a closed terminal: a checkpoint, a plain message, and the exit status that the shell expects."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The run was asked to stop; `exit_status` is 128 plus the signal's number (143, 130 or 129).

    No Exception, as KeyboardInterrupt is none: what catches whatever a library may raise must not take it for a fault.
    """

    def __init__(self, number: int) -> None:
        """Remember the signal."""
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class StopSignals:
    """While entered, a signal raises Stopped once: at once where work can be dropped, else where the section ends.

    Once Stopped is raised the work is winding up, and further signals change nothing.
    """

    def __init__(self) -> None:
        """No signal has come in."""
        self.received: int | None = None
        self._raised = False
        self._depth = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        """Take over the signals; SIGHUP where it is not ignored, as it is under nohup."""
        hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        for number in (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hangs_up else [])):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A section that a signal does not break into: an update, a checkpoint. Stopped is raised where it ends."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth:
            self.check()

    def check(self) -> None:
        """Raise Stopped where a signal has come in, within a deferred section too."""
        if self.received is not None and not self._raised:
            self._raised = True
            raise Stopped(self.received)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number
        if not self._depth:
            self.check()
