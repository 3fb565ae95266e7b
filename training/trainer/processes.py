"""What several processes must have in common, on one machine or on several, with a shared disk or without one."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed

from common import checkpoints
from common.errors import UserError
from common.quiet import known_noise_off

with known_noise_off():
    from accelerate import Accelerator

T = TypeVar("T")


class ProcessesError(UserError):
    """Processes that cannot train together; the message says in what they differ."""


def told_by_main(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """What `work` gives in the main process, which alone does it, in all of them.

    A UserError, or what the disk refuses (OSError), is raised in the main process, and the others end with it, without
    a message of their own.
    """
    if accelerator.num_processes == 1:
        return work()
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = work()
        except (UserError, OSError) as error:
            outcome[1] = error
    torch.distributed.broadcast_object_list(outcome, device=accelerator.device)
    _end_all(accelerator, outcome[1])
    return outcome[0]


def by_main_alone(accelerator: Accelerator, work: Callable[[], T]) -> T | None:
    """What `work` gives, in the main process, which alone does it and keeps it; None in the others. Errors likewise."""
    kept: list[T] = []
    told_by_main(accelerator, lambda: kept.append(work()))
    return kept[0] if kept else None


def refuse_differences(accelerator: Accelerator, facts: Mapping[str, Any]) -> None:
    """End all processes where they do not agree on what they are to do: each gives its own `facts`, by name.

    Raises ProcessesError in the main process, naming what differs and where.
    """
    if accelerator.num_processes == 1:
        return
    gathered: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(gathered, (platform.node(), dict(facts)))
    (_, first), *_ = gathered
    differing = [f"{name}: {value!r} in process 0, {theirs.get(name)!r} in process {rank} on {machine}"
                 for rank, (machine, theirs) in enumerate(gathered) for name, value in first.items()
                 if theirs.get(name) != value]
    _end_all(accelerator, ProcessesError(
        "the processes are to do different things:\n  " + "\n  ".join(differing) + "\nGive each machine the same "
        "flags, pictures and base.") if differing else None)


def share_of(accelerator: Accelerator, folder: Path, error: Exception | None) -> tuple[int, int]:
    """Which of how many processes this one is that see `folder` on one machine; waits until all have asked.

    `error` is what keeps this process from going on. It is raised in the first process that has one, and the others
    end with it, without a message of their own.
    """
    rank, status = accelerator.process_index, folder.stat() if folder.exists() else None
    place = (platform.node(), status.st_dev, status.st_ino) if status else rank
    gathered: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(gathered, (place, error is not None))
    failed = [number for number, (_, has_failed) in enumerate(gathered) if has_failed]
    if failed[:1] == [rank]:
        raise error
    if failed:
        sys.exit(1)
    mates = [number for number, (theirs, _) in enumerate(gathered) if theirs == place]
    return mates.index(rank), len(mates)


def leave(accelerator: Accelerator) -> None:
    """End what joins the processes: none has to wait for another from here on."""
    if accelerator.num_processes > 1:
        torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class SharedCheckpoint(checkpoints.Checkpoint):
    """A checkpoint on the main process's disk, whose tensors go from there to all processes, which ask together."""

    accelerator: Accelerator

    @classmethod
    def of(cls, found: checkpoints.Checkpoint, accelerator: Accelerator) -> SharedCheckpoint:
        """The same checkpoint, of which the other processes know its path, step and manifest."""
        return cls(found.path, found.step, found.manifest, accelerator)

    def tensors(self, name: str) -> checkpoints.Tensors:
        """One of its files, read once, on the CPU of each process."""
        if self.accelerator.num_processes == 1:
            return super().tensors(name)
        device = self.accelerator.device
        own = super().tensors(name) if self.accelerator.is_main_process else {}
        forms = told_by_main(self.accelerator, lambda: {key: (one.shape, one.dtype) for key, one in own.items()})
        received = {}
        for key, (shape, dtype) in forms.items():
            tensor = own[key].to(device) if own else torch.empty(shape, dtype=dtype, device=device)
            torch.distributed.broadcast(tensor, src=0)
            received[key] = tensor.cpu()
        return received


def _end_all(accelerator: Accelerator, error: UserError | OSError | None) -> None:
    """End all processes by an error that all of them know, said once."""
    if error is None:
        return
    if accelerator.is_main_process:
        raise error
    sys.exit(1)
