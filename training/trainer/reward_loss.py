"""What a recogniser thinks of a drawing, as a loss: its gradient runs through the last steps of the drawing.

A drawing that has come halfway is ended in a few steps, decoded and looked at, and the UNet is told how it should have
drawn to be found well-formed, with the components of the caption where they are known and with the strokes that it
names. This is DRaFT-K (arXiv 2309.17400). Halfway is where the model's own sampler comes by: a drawing of its own that
is noised, or, for a picture of the set, what the model makes of its caption in a few quick steps from pure noise; the
picture itself, noised, would show the components that the model has to learn. A drawing that is only called good or bad
tells the UNet far less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F

from common.quiet import known_noise_off
from dataset.rows import Row, forms_alike, homonyms
from recogniser.augmentations import as_sampled
from recogniser.judge import Judge
from recogniser.network import RecogniserOutput, decoded_ink

with known_noise_off():
    from diffusers import AutoencoderKL, DDPMScheduler, SchedulerMixin

TIMES = (1.0, 0.62, 0.28)  # the steps, as shares of the timestep that a drawing has come to; the last one ends at 0
BEGINNING = 5  # steps, without a gradient, from pure noise to there
MARGIN = 1.5  # nats beyond the recogniser's threshold that a drawing shall reach, and one distorted shall not need
DISTORTED = 0.5  # weight of the drawing that is distorted as samplers do, beside the plain one's
STROKE = 0.3  # weight of a stroke too many or too few
MIN_PROBABILITY = 1e-4  # the probability below which a component that is not found costs no more


class RewardLoss:
    """Log-loss of being well-formed, and of the components and strokes asked for, of drawings that a UNet ends."""

    def __init__(self, scheduler: SchedulerMixin, vae: AutoencoderKL, recogniser: Judge, rows: Sequence[Row],
                 device: torch.device) -> None:
        """Take the noise schedule from `scheduler`, which predicts epsilon or v; vae and recogniser are left alone.

        `rows` say which are own drawings, and which components their pictures have: any form of them will do, anywhere,
        and any component of the same name. The recogniser, which is small, looks on the CPU, where the draws of its
        distortions are made.
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
        self.is_own = torch.tensor([row.is_own for row in rows])
        named = homonyms(rows)
        self.parts = [_classes(row, kinds, named) for row in rows]

    def __call__(self, unet: torch.nn.Module, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor,
                 text: torch.Tensor, rows: torch.Tensor, strokes: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        """The loss of each drawing, fp32 (R,).

        latents, noise: fp32 (R, C, h, w), scaled latents, of which only those of own drawings count, and standard
        normal noise; timesteps: int64 (R,), to which these are noised and the others are drawn; text: (R, tokens,
        width), the encoded captions; rows, strokes: int64 (R,), on the CPU, the pictures' rows and the number that a
        caption names, 0 where it names none; draw: a CPU generator, of the distortions.
        """
        drawn = self._drawn(unet, latents, noise, timesteps, text, self.is_own[rows].to(latents.device))
        ink = decoded_ink(self.vae.decode(drawn / self.vae.config.scaling_factor).sample).cpu()
        with torch.autocast("cpu", enabled=False):
            seen, distorted = self.network(ink), self.network(as_sampled(ink, draw, strength=0.5))
            loss = F.softplus(self.threshold + MARGIN - seen.well_formed)
            loss = loss + DISTORTED * F.softplus(self.threshold - distorted.well_formed)
            off = F.smooth_l1_loss(seen.expected_strokes(), strokes.float(), reduction="none")
            loss = loss + STROKE * off * (strokes > 0) + self._missing(seen, rows)
        return loss.to(latents.device)

    def _missing(self, seen: RecogniserOutput, rows: torch.Tensor) -> torch.Tensor:
        """The log-loss of each row's components being somewhere in the glyph, (R,)."""
        shares = seen.components.float().softmax(-1)
        missing = []
        for glyph, row in zip(shares, rows.tolist(), strict=True):
            absent = [(1.0 - glyph[:, kinds].sum(-1)).clamp_min(MIN_PROBABILITY).prod() for kinds in self.parts[row]]
            missing.append(-sum((torch.log(1.0 - share + MIN_PROBABILITY) for share in absent), torch.zeros(())))
        return torch.stack(missing)

    def _drawn(self, unet: torch.nn.Module, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor,
               text: torch.Tensor, is_own: torch.Tensor) -> torch.Tensor:
        """The own latents noised and drawn again, the others drawn from pure noise: (R, C, h, w)."""
        clean, predicted = latents.clone(), noise.clone()
        if not is_own.all():
            last = len(self.alphas) - 1
            before = [timesteps + (last - timesteps) * step // BEGINNING for step in range(BEGINNING, 0, -1)]
            others = ~is_own
            with torch.no_grad():
                begun = self._denoised(unet, torch.zeros_like(latents[others]), noise[others],
                                       [time[others] for time in before], text[others])
            clean[others], predicted[others] = begun
        return self._denoised(unet, clean, predicted, [(share * timesteps).long() for share in TIMES], text)[0]

    def _denoised(self, unet: torch.nn.Module, clean: torch.Tensor, predicted: torch.Tensor,
                  times: Sequence[torch.Tensor], text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents and noise as predicted after DDIM's steps (arXiv 2010.02502) at `times`, both (R, C, h, w)."""
        for time in times:
            alpha = self.alphas[time].view(-1, 1, 1, 1)
            x = alpha.sqrt() * clean + (1.0 - alpha).sqrt() * predicted
            predicted = unet(x, time, text, return_dict=False)[0].float()
            if self.predicts_v:
                clean = alpha.sqrt() * x - (1.0 - alpha).sqrt() * predicted
                predicted = (1.0 - alpha).sqrt() * x + alpha.sqrt() * predicted
            else:
                clean = (x - (1.0 - alpha).sqrt() * predicted) / alpha.sqrt()
        return clean, predicted


def _classes(row: Row, kinds: Mapping[str, Sequence[int]], named: Mapping[str, frozenset[str]]) -> list[list[int]]:
    """For each component of a row, the recogniser's classes for it; none for one that it does not know."""
    wanted = {forms_alike(part, named) for part in row.metadata.get("components") or ()}
    classes = [sorted(kind for form in forms for kind in kinds.get(form, ())) for forms in wanted]
    return sorted(filter(None, classes))
