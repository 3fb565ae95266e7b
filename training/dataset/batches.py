"""What each update sees, on the device, one update ahead of the loop."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from common.device import to_device
from common.seeds import Purpose, generator
from dataset.batch_plan import BatchPlan, StepNoise, StepPlan
from dataset.cache import EncodedRows
from dataset.shard import Shard


@dataclass(frozen=True)
class Batch:
    """One process's samples of one accumulation step, on the device."""

    latents: torch.Tensor
    """fp32 (B, C, h, w), scaled."""
    noise: torch.Tensor
    """fp32 (B, C, h, w)."""
    timesteps: torch.Tensor
    """int64 (B,)."""
    prompt_embeds: torch.Tensor
    """(B, tokens, width)."""
    negative: torch.Tensor
    """int64 (R,): indices of the negative samples."""
    reward_indices: torch.Tensor
    """int64 (L,): indices of the samples that a reward model scores."""
    rows: torch.Tensor
    """int64 (L,), on the CPU: these samples' rows."""
    strokes: torch.Tensor
    """int64 (L,), on the CPU: the stroke counts that their captions name, 0 for none."""
    distortions: torch.Generator
    """On the CPU, and this process's own: what the distortions of these samples are drawn from."""


class Batches:
    """The batches of a run by update; while one trains, the next is drawn and moved in another thread."""

    def __init__(self, plan: BatchPlan, encoded: EncodedRows, scaling_factor: float, shard: Shard) -> None:
        """`scaling_factor` is the VAE's; the batches lie on the device of `encoded`."""
        self._plan, self._encoded, self._scaling_factor, self._shard = plan, encoded, scaling_factor, shard

    def from_step(self, first: int, end: int) -> Generator[list[Batch], None, None]:
        """For each update from `first` up to `end`, its accumulation steps."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as ahead:
            following = ahead.submit(self.at, first) if first < end else None
            for step in range(first, end):
                batches = following.result()
                following = ahead.submit(self.at, step + 1) if step + 1 < end else None
                yield batches

    def at(self, step: int) -> list[Batch]:
        """The accumulation steps of one update, this process's samples of each."""
        plan, seed = self._plan[step], self._plan.settings.seed
        return [self._batch(plan[part], self._plan.noise(step, part),
                            generator(seed, step, Purpose.DISTORTIONS, part.start))
                for part in self._shard.slices(len(plan.rows))]

    def _batch(self, plan: StepPlan, noise: StepNoise, distortions: torch.Generator) -> Batch:
        mean, std = self._encoded.moments(plan.rows).unbind(1)
        return Batch(
            latents=(mean + std * self._move(noise.posterior)) * self._scaling_factor,
            noise=self._move(noise.noise),
            timesteps=self._move(plan.timesteps),
            prompt_embeds=self._encoded.prompt_embeds(plan.rows, plan.captions, plan.tagged, plan.dropped),
            negative=self._move(plan.negative.nonzero().flatten()),
            reward_indices=self._move(plan.reward_mask.nonzero().flatten()),
            rows=plan.rows[plan.reward_mask],
            strokes=plan.strokes[plan.reward_mask],
            distortions=distortions,
        )

    def _move(self, tensor: torch.Tensor) -> torch.Tensor:
        return to_device(tensor, self._encoded.device)
