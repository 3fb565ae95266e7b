"""The diffusion loss: noise a latent, predict, weigh. Epsilon or v, as the base's own scheduler says.

A negative sample, one that a recogniser refused, has its target mirrored at what the base itself predicts: the negative
half of DiffusionNFT's loss (arXiv 2509.16117, beta 1), whose positive half is the plain one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from common.errors import UserError
from common.quiet import known_noise_off

with known_noise_off():
    from diffusers import DDPMScheduler, SchedulerMixin
    from diffusers.training_utils import compute_snr


class LossError(UserError):
    """A base whose scheduler asks for something that this loss does not have."""


class DiffusionLoss:
    """Min-SNR weighted mean squared error between a UNet's prediction and its target."""

    def __init__(self, scheduler: SchedulerMixin, snr_gamma: float | None, device: torch.device,
                 reference: torch.nn.Module | None = None) -> None:
        """Take the noise schedule from `scheduler`; `snr_gamma` None leaves the loss unweighted.

        `reference` is the base as it was before training, which only negative samples need. Raises LossError where the
        scheduler predicts neither epsilon nor v.
        """
        self.reference = reference
        self.schedule = DDPMScheduler.from_config(scheduler.config)
        self.prediction_type = self.schedule.config.prediction_type
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise LossError(f"the base's scheduler predicts {self.prediction_type!r}; epsilon and v_prediction can "
                            "be trained")
        self.schedule.alphas_cumprod = self.schedule.alphas_cumprod.to(device)
        self.snr_gamma = snr_gamma

    @property
    def train_timesteps(self) -> int:
        """How many timesteps the schedule has; a drawn one is below it."""
        return self.schedule.config.num_train_timesteps

    def __call__(self, unet: torch.nn.Module, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor,
                 text: torch.Tensor, negative: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of each sample, fp32 (B,).

        latents, noise: fp32 (B, C, h, w), the scaled latents and standard normal noise; timesteps: int64 (B,); text:
        (B, tokens, width), the encoded captions; negative: int64 (R,), the indices of the negative samples.
        """
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        predicted = unet(noisy, timesteps, text, return_dict=False)[0]
        target = noise if self.prediction_type == "epsilon" else self.schedule.get_velocity(latents, noise, timesteps)
        if negative is not None and len(negative):
            with torch.no_grad():
                before = self.reference(noisy[negative], timesteps[negative], text[negative], return_dict=False)[0]
            target = target.index_copy(0, negative, 2.0 * before.float() - target[negative])
        error = F.mse_loss(predicted.float(), target, reduction="none").mean(dim=(1, 2, 3))
        return error * self.weights(timesteps)

    def weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Min-SNR-gamma weights (arXiv 2303.09556, section 3.4): min(SNR, gamma) over SNR, or over SNR + 1 for v."""
        if self.snr_gamma is None:
            return torch.ones_like(timesteps, dtype=torch.float32)
        snr = compute_snr(self.schedule, timesteps)
        clipped = snr.clamp_max(self.snr_gamma)
        if self.prediction_type == "v_prediction":
            return clipped / (snr + 1.0)
        return torch.where(snr > 0, clipped / snr.clamp_min(1e-12), 1.0)
