"""The forward process of a base, and what its network predicts: epsilon or v, as the base's own scheduler says."""

from __future__ import annotations

import torch

from common.quiet import known_noise_off
from models.hub import ModelError

with known_noise_off():
    from diffusers import DDPMScheduler, SchedulerMixin
    from diffusers.training_utils import compute_snr


class NoiseSchedule:
    """The noise schedule of a scheduler, whatever its sampler; tables lie on one device.

    latents, noise, noisy: fp32 (B, C, h, w), scaled latents, standard normal noise and their mixture; timesteps: int64
    (B,), each below the schedule's length.
    """

    def __init__(self, scheduler: SchedulerMixin, device: torch.device) -> None:
        """Take the schedule from a base's `scheduler`. Raises ModelError where it predicts neither epsilon nor v."""
        self._ddpm = DDPMScheduler.from_config(scheduler.config)
        self.predicts_v = self._ddpm.config.prediction_type == "v_prediction"
        if not self.predicts_v and self._ddpm.config.prediction_type != "epsilon":
            raise ModelError(f"the base's scheduler predicts {self._ddpm.config.prediction_type!r}; epsilon and "
                             "v_prediction can be trained")
        self._ddpm.alphas_cumprod = self._ddpm.alphas_cumprod.to(device)

    def __len__(self) -> int:
        """How many timesteps there are."""
        return self._ddpm.config.num_train_timesteps

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """The fraction of a latent's variance that is left at each timestep, fp32 (T,)."""
        return self._ddpm.alphas_cumprod

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Latents as they are at these timesteps."""
        return self._ddpm.add_noise(latents, noise, timesteps)

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the network should predict: the noise, or the velocity (arXiv 2202.00512, section 4)."""
        return self._ddpm.get_velocity(latents, noise, timesteps) if self.predicts_v else noise

    def separated(self, noisy: torch.Tensor, predicted: torch.Tensor,
                  timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The latents and the noise that a prediction takes `noisy` to be made of."""
        alpha = self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        if self.predicts_v:
            return (alpha.sqrt() * noisy - (1.0 - alpha).sqrt() * predicted,
                    (1.0 - alpha).sqrt() * noisy + alpha.sqrt() * predicted)
        return (noisy - (1.0 - alpha).sqrt() * predicted) / alpha.sqrt(), predicted

    def min_snr_weights(self, timesteps: torch.Tensor, gamma: float) -> torch.Tensor:
        """Min-SNR-gamma weights (arXiv 2303.09556, section 3.4): min(SNR, gamma) over SNR, or over SNR + 1 for v."""
        snr = compute_snr(self._ddpm, timesteps)
        clipped = snr.clamp_max(min(gamma, torch.finfo(snr.dtype).max))
        if self.predicts_v:
            return clipped / (snr + 1.0)
        return torch.where(snr > 0, clipped / snr.clamp_min(1e-12), 1.0)
