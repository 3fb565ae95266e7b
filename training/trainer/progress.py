"""The losses since the last report, and the time that they took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


class Window:
    """The updates since the last report. Their losses stay on the device, not yet synchronised to the host."""

    def __init__(self) -> None:
        """Begin the first window now."""
        self.restart()

    def restart(self) -> None:
        """Begin the next window now."""
        self.losses: list[torch.Tensor] = []
        self._began = time.perf_counter()

    def updates_per_second(self) -> float:
        """Of the updates so far, without the time that was paused."""
        return len(self.losses) / (time.perf_counter() - self._began)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time that this takes out of the rate."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._began += time.perf_counter() - began


def mean_of(losses: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean (T,) of losses (T,), each summed as if it were alone: a further term changes no bit of the others."""
    return torch.stack([column.contiguous().mean() for column in torch.stack(list(losses)).unbind(1)])
