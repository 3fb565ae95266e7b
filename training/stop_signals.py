"""SIGTERM and Ctrl-C: a checkpoint, a plain message, and the exit status that the shell expects."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """The run was asked to stop; `exit_status` is 128 plus the signal's number (143 or 130)."""

    def __init__(self, number: int) -> None:
        """Remember the signal."""
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class StopSignals:
    """While entered, a signal raises Stopped: at once where work can be dropped, after the section where it cannot."""

    def __init__(self, always_deferred: bool = False) -> None:
        """`always_deferred` only notes signals (several processes must agree on the step that they stop at)."""
        self.received: int | None = None
        self._always_deferred = always_deferred
        self._depth = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        """Take over the two signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A section that a signal does not break into: an update, a checkpoint."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def check(self) -> None:
        """Raise Stopped where a signal has come in."""
        if self.received is not None:
            raise Stopped(self.received)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        first = self.received is None
        self.received = self.received or number
        if first and not self._depth and not self._always_deferred:
            raise Stopped(number)
