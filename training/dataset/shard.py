"""Which part of an update is one process's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Which samples of each update are one process's: `batch_size` in each accumulation step."""

    batch_size: int
    accumulation_steps: int
    process_index: int

    @classmethod
    def of(cls, batch_size: int, accumulation_steps: int, processes: int = 1, process_index: int = 0) -> Shard:
        """The share of one of several processes in the update that one alone would make of its accumulation steps.

        They take these side by side and, where there are too few, smaller batches: an update learns from as many
        samples whatever the number of processes, but for the few more that let each have as many as the others.
        """
        own = -(-batch_size * accumulation_steps // processes)
        steps = -(-own // batch_size)
        return cls(-(-own // steps), steps, process_index)

    @property
    def size(self) -> int:
        """Samples of this process in one update."""
        return self.batch_size * self.accumulation_steps

    def slices(self, size: int) -> list[slice]:
        """The samples of each accumulation step, of an update of `size` samples of all processes."""
        processes = size // self.size
        starts = [(step * processes + self.process_index) * self.batch_size for step in range(self.accumulation_steps)]
        return [slice(start, start + self.batch_size) for start in starts]
