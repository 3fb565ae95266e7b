"""What is minimised: a list of loss terms over a batch, and the diffusion loss, which is always one of them.

A term is added by a class like DiffusionTerm and a line in trainer/setup.py; it is reported under its own name.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

from dataset.batches import Batch
from models.families import Family
from models.noise_schedule import NoiseSchedule


class LossTerm(Protocol):
    """One thing to be minimised; the loss is the sum of the terms, each times its weight."""

    name: str
    """What it is reported as: `loss/<name>`."""
    weight: float

    def __call__(self, network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of each sample of the batch, fp32 (B,), 0 for a sample that the term says nothing of.

        network: the UNet in training as the loop calls it, maybe compiled, maybe shared between processes; a term that
        runs it more than once a step takes `unwrapped(network)`.
        """


class DiffusionTerm:
    """Min-SNR weighted mean squared error between the network's prediction and its target.

    A negative sample, one that a recogniser refused, has its target mirrored at what the base itself predicts: the
    negative half of DiffusionNFT's loss (arXiv 2509.16117, beta 1), whose positive half is the plain one.
    """

    name, weight = "diffusion", 1.0

    def __init__(self, family: Family, schedule: NoiseSchedule, snr_gamma: float | None,
                 reference: torch.nn.Module | None = None) -> None:
        """`snr_gamma` None leaves the error unweighted.

        `reference` is the base as it was before training, which only negative samples need.
        """
        self.family, self.schedule, self.snr_gamma, self.reference = family, schedule, snr_gamma, reference

    def __call__(self, network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of each sample, fp32 (B,)."""
        noisy = self.schedule.noised(batch.latents, batch.noise, batch.timesteps)
        predicted = self.family.predict(network, noisy, batch.timesteps, batch.prompt_embeds)
        target = self.schedule.target(batch.latents, batch.noise, batch.timesteps)
        if len(batch.negative):
            target = self._mirrored(target, noisy, batch)
        error = F.mse_loss(predicted, target, reduction="none").mean(dim=(1, 2, 3))
        if self.snr_gamma is None:
            return error
        return error * self.schedule.min_snr_weights(batch.timesteps, self.snr_gamma)

    @torch.no_grad()
    def _mirrored(self, target: torch.Tensor, noisy: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The target, with that of the negative samples mirrored at the prediction of the base."""
        index = batch.negative
        base = self.family.predict(self.reference, noisy[index], batch.timesteps[index], batch.prompt_embeds[index])
        return target.index_copy(0, index, 2.0 * base - target[index])


def unwrapped(network: torch.nn.Module) -> torch.nn.Module:
    """The UNet itself, out of what shares it between processes and out of torch.compile."""
    if isinstance(network, torch.nn.parallel.DistributedDataParallel):
        network = network.module
    return getattr(network, "_orig_mod", network)
