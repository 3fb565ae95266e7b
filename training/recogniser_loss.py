"""What a recogniser thinks of a drawing, as a loss: its gradient runs through the last steps of the drawing.

A picture is noised, drawn again from there in a few steps, decoded and looked at, and the UNet is told how it should
have drawn to be found well-formed, with the components of the picture where they are known and with the strokes that
its caption names. This is DRaFT-K (arXiv 2309.17400) from noised pictures instead of from whole samplings, which cost
ten times as much; noised drawings of the model's own are what its sampler comes by. A drawing that is only called good
or bad tells the UNet far less.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, SchedulerMixin

from captioned_dataset import Row
from distortions import as_sampled
from judging import Judge
from prompt_sets import forms
from recogniser import Seen, decoded_ink

TIMES = (1.0, 0.62, 0.28)  # the steps, as shares of the timestep that a drawing is noised to; the last one ends at 0
MARGIN = 1.5  # nats beyond the recogniser's threshold that a drawing shall reach, and one distorted shall not need
DISTORTED = 0.5  # weight of the drawing that is distorted as samplers do, beside the plain one's
STROKE = 0.3  # weight of a stroke too many or too few
LEAST_SHARE = 1e-4  # the probability below which a component that is not found costs no more


class RecogniserLoss:
    """Log-loss of being well-formed, and of the components and strokes asked for, of drawings that a UNet ends."""

    def __init__(self, scheduler: SchedulerMixin, vae: AutoencoderKL, recogniser: Judge, rows: Sequence[Row],
                 device: torch.device) -> None:
        """Take the noise schedule from `scheduler`, which predicts epsilon or v; vae and recogniser are left alone.

        `rows` say which components their pictures have: any form of them will do, anywhere. The recogniser, which is
        small, looks on the CPU, where the draws of its distortions are made.
        """
        schedule = DDPMScheduler.from_config(scheduler.config)
        self.alphas = schedule.alphas_cumprod.to(device)
        self.predicts_v = schedule.config.prediction_type == "v_prediction"
        self.vae = deepcopy(vae).requires_grad_(False).eval().to(device)
        self.network = deepcopy(recogniser.network).requires_grad_(False).eval()
        self.threshold = torch.logit(torch.tensor(recogniser.thresholds.well_formed)).item()
        kinds: dict[str, list[int]] = {}
        for place, original in enumerate(recogniser.vocabulary.originals):
            kinds.setdefault(original, []).append(place + 1)
        self.parts = [[kinds[form] for form in sorted(forms(row)) if form in kinds] for row in rows]

    def __call__(self, unet: torch.nn.Module, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor,
                 text: torch.Tensor, rows: torch.Tensor, strokes: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        """The loss of each drawing, fp32 (R,).

        latents, noise: fp32 (R, C, h, w), scaled latents and standard normal noise; timesteps: int64 (R,), to which
        they are noised; text: (R, tokens, width), the encoded captions; rows, strokes: int64 (R,), on the CPU, the
        pictures' rows and the number that a caption names, 0 where it names none; draw: a CPU generator, of the
        distortions.
        """
        drawn = self._drawn(unet, latents, noise, timesteps, text)
        ink = decoded_ink(self.vae.decode(drawn / self.vae.config.scaling_factor).sample).cpu()
        with torch.autocast("cpu", enabled=False):
            seen, distorted = self.network(ink), self.network(as_sampled(ink, draw, strength=0.5))
            loss = F.softplus(self.threshold + MARGIN - seen.well_formed)
            loss = loss + DISTORTED * F.softplus(self.threshold - distorted.well_formed)
            off = F.smooth_l1_loss(seen.expected_strokes(), strokes.float(), reduction="none")
            loss = loss + STROKE * off * (strokes > 0) + self._missing(seen, rows)
        return loss.to(latents.device)

    def _missing(self, seen: Seen, rows: torch.Tensor) -> torch.Tensor:
        """The log-loss of each row's components being somewhere in the glyph, (R,)."""
        shares = seen.parts.float().softmax(-1)
        missing = []
        for glyph, row in zip(shares, rows.tolist(), strict=True):
            absent = [(1.0 - glyph[:, kinds].sum(-1)).clamp_min(LEAST_SHARE).prod() for kinds in self.parts[row]]
            missing.append(-sum((torch.log(1.0 - share + LEAST_SHARE) for share in absent), torch.zeros(())))
        return torch.stack(missing)

    def _drawn(self, unet: torch.nn.Module, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor,
               text: torch.Tensor) -> torch.Tensor:
        """The latents, noised and drawn again by DDIM's steps (arXiv 2010.02502): (R, C, h, w)."""
        clean, predicted = latents, noise
        for share in TIMES:
            time = (share * timesteps).long()
            alpha = self.alphas[time].view(-1, 1, 1, 1)
            x = alpha.sqrt() * clean + (1.0 - alpha).sqrt() * predicted
            predicted = unet(x, time, text, return_dict=False)[0].float()
            if self.predicts_v:
                clean = alpha.sqrt() * x - (1.0 - alpha).sqrt() * predicted
                predicted = (1.0 - alpha).sqrt() * x + alpha.sqrt() * predicted
            else:
                clean = (x - (1.0 - alpha).sqrt() * predicted) / alpha.sqrt()
        return clean
