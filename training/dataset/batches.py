"""What each update sees, on the device, one update ahead of the loop."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from common.seeds import Purpose, generator
from dataset.batch_plan import BatchPlan
from dataset.cache import EncodedRows, to_device


@dataclass(frozen=True)
class Batch:
    """One process's share of one accumulation step, on the device.

    latents: fp32 (B, C, h, w), scaled; noise: the same shape; timesteps: int64 (B,); text: (B, tokens, width);
    negative: int64 (R,), the places in the batch of pictures to be led away from; reward_mask: int64 (L,), those of
    pictures that a recogniser may look at; rows, strokes: int64 (L,), on the CPU, these pictures' rows and the numbers
    that their captions name, 0 for none; distortions: a CPU generator of this process's own.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    text: torch.Tensor
    negative: torch.Tensor
    reward_mask: torch.Tensor
    rows: torch.Tensor
    strokes: torch.Tensor
    distortions: torch.Generator


class Batches:
    """The batches of a run by update; while one trains, the next is drawn and moved in another thread."""

    def __init__(self, draws: BatchPlan, encoded: EncodedRows, scaling_factor: float, batch_size: int, accumulation: int,
                 process: int, device: torch.device) -> None:
        """`scaling_factor` is the VAE's; `process` is this one's index among those that share an update."""
        self._draws, self._encoded, self._scaling_factor = draws, encoded, scaling_factor
        self._batch_size, self._accumulation, self._process = batch_size, accumulation, process
        self._device = device

    def from_step(self, first: int, end: int) -> Generator[list[Batch], None, None]:
        """For each update from `first` up to `end`, its accumulation steps."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as ahead:
            following = ahead.submit(self.at, first) if first < end else None
            for step in range(first, end):
                batches = following.result()
                following = ahead.submit(self.at, step + 1) if step + 1 < end else None
                yield batches

    def at(self, step: int) -> list[Batch]:
        """The accumulation steps of one update, this process's share of each."""
        drawn = self._draws[step]
        processes = len(drawn.rows) // (self._batch_size * self._accumulation)
        batches = []
        for part in range(self._accumulation):
            start = (part * processes + self._process) * self._batch_size
            share = drawn.part(slice(start, start + self._batch_size))
            mean, std = self._encoded.moments(share.rows).unbind(1)
            latents = (mean + std * self._move(share.posterior_noise)) * self._scaling_factor
            text = self._encoded.text(share.rows, share.caption, share.tagged, share.dropped)
            batches.append(Batch(
                latents, self._move(share.noise), self._move(share.timesteps), text,
                self._move(share.negative.nonzero().flatten()), self._move(share.reward_mask.nonzero().flatten()),
                share.rows[share.reward_mask], share.strokes[share.reward_mask],
                generator(self._draws.seed, step, Purpose.DISTORTIONS, start)))
        return batches

    def _move(self, tensor: torch.Tensor) -> torch.Tensor:
        return to_device(tensor, self._device)
