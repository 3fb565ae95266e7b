"""What a recogniser thinks of an image, as a loss: its gradient runs through the last steps of sampling.

An image that has come halfway is ended in a few steps, decoded and read, and the UNet is told how it should have
predicted for the image to be found well-formed, with the components of the caption where they are known and with the
strokes that it names. This is DRaFT-K (arXiv 2309.17400). Halfway is where the model's own sampler comes by: a sample
of its own that is noised, or, for a picture of the set, what the model makes of its caption in a few quick steps from
pure noise; the picture itself, noised, would show the components that the model has to learn. A sample that is only
called good or bad tells the UNet far less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial

import torch
import torch.nn.functional as F

from common.device import to_device
from common.quiet import known_noise_off
from dataset.batches import Batch
from dataset.rows import Row, forms_alike, homonyms
from models.families import Family
from models.noise_schedule import NoiseSchedule
from recogniser.augmentations import as_sampled
from recogniser.judge import Judge
from recogniser.network import RecogniserOutput, decoded_ink
from trainer.losses import unwrapped

with known_noise_off():
    from diffusers import AutoencoderKL

LAST_STEPS = (1.0, 0.62, 0.28)  # as fractions of the timestep that an image has come to; the last one ends at 0
FIRST_STEPS = 5  # steps, without a gradient, from pure noise to there
MARGIN = 1.5  # nats beyond the recogniser's threshold that an image shall reach, and one distorted shall not need
DISTORTED = 0.5  # weight of the image that is distorted as samplers do, beside the plain one's
STROKE = 0.3  # weight of a stroke too many or too few
MIN_PROBABILITY = 1e-4  # the probability below which a component that is not found costs no more
Predict = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # of noisy latents, timesteps and prompts


class RewardTerm:
    """Log-loss of being well-formed, and of the components and strokes asked for, of images that the network ends."""

    name = "reward"

    def __init__(self, family: Family, schedule: NoiseSchedule, vae: AutoencoderKL, reward_model: Judge,
                 rows: Sequence[Row], weight: float, device: torch.device) -> None:
        """Copy `vae` to the device and the reward model to where it scores; both are left alone.

        `rows` say which are the model's own samples, and which components their pictures have: any form of them will
        do, anywhere, and any component of the same name.
        """
        self.family, self.schedule, self.weight = family, schedule, weight
        self.vae = deepcopy(vae).requires_grad_(False).eval().to(device)
        self.scored_on = scoring_device(device)
        self.network = deepcopy(reward_model.network).requires_grad_(False).eval().to(self.scored_on)
        self.threshold = torch.logit(torch.tensor(reward_model.thresholds.well_formed)).item()
        self.is_own = torch.tensor([row.is_own_sample for row in rows])  # on the CPU, as a batch's rows are
        self.components = component_classes(rows, reward_model.vocabulary.originals)

    def __call__(self, network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of each sample, fp32 (B,), 0 for one that the reward model does not score.

        Of the latents only those of own samples count; these are noised to the batch's timesteps, and the others are
        sampled to there.
        """
        losses, index = torch.zeros(len(batch.latents), device=batch.latents.device), batch.reward_indices
        if not len(index):
            return losses
        latents = ended_latents(
            partial(self.family.predict, unwrapped(network)), self.schedule, batch.latents[index], batch.noise[index],
            batch.timesteps[index], batch.prompt_embeds[index], self.is_own[batch.rows])
        samples = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        ink = decoded_ink(samples.to(self.scored_on))
        with torch.autocast(ink.device.type, enabled=False):
            return losses.index_add(0, index, self._judged(ink, batch).to(losses.device))

    def _judged(self, ink: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of images as ink (R, 1, H, W), 0 to 1, for the batch's rows and strokes: fp32 (R,)."""
        plain, distorted = self.network(ink), self.network(as_sampled(ink, batch.distortions, strength=0.5))
        loss = F.softplus(self.threshold + MARGIN - plain.well_formed)
        loss = loss + DISTORTED * F.softplus(self.threshold - distorted.well_formed)
        strokes = to_device(batch.strokes, ink.device)
        error = F.smooth_l1_loss(plain.expected_strokes(), strokes.float(), reduction="none")
        missing = missing_components(plain, [self.components[row] for row in batch.rows.tolist()])
        return loss + STROKE * error * (strokes > 0) + missing


def scoring_device(device: torch.device) -> torch.device:
    """Where images are scored: where the UNet runs, or each micro-batch would wait for the device.

    On the CPU where results must be deterministic: what the gradient runs through, adaptive pooling and grid_sample,
    has no deterministic form on CUDA, and torch refuses it.
    """
    on_cpu = device.type == "cuda" and torch.are_deterministic_algorithms_enabled()
    return torch.device("cpu") if on_cpu else device


def ended_latents(predict: Predict, schedule: NoiseSchedule, latents: torch.Tensor, noise: torch.Tensor,
                  timesteps: torch.Tensor, prompt_embeds: torch.Tensor, is_own: torch.Tensor) -> torch.Tensor:
    """The own latents noised and sampled again, the others sampled from pure noise: fp32 (R, C, h, w).

    latents, noise: fp32 (R, C, h, w); timesteps: int64 (R,), where the last steps begin, with a gradient; is_own: bool
    (R,), on the CPU, so that nothing waits for the device.
    """
    if not is_own.all():
        others, last = to_device((~is_own).nonzero().flatten(), latents.device), len(schedule) - 1
        first = [(timesteps + (last - timesteps) * step // FIRST_STEPS)[others] for step in range(FIRST_STEPS, 0, -1)]
        with torch.no_grad():
            begun = ddim(predict, schedule, torch.zeros_like(latents[others]), noise[others], first,
                         prompt_embeds[others])
        latents, noise = latents.clone(), noise.clone()
        latents[others], noise[others] = begun
    steps = [(fraction * timesteps).long() for fraction in LAST_STEPS]
    return ddim(predict, schedule, latents, noise, steps, prompt_embeds)[0]


def ddim(predict: Predict, schedule: NoiseSchedule, latents: torch.Tensor, noise: torch.Tensor,
         steps: Sequence[torch.Tensor], prompt_embeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and noise as predicted after DDIM's steps (arXiv 2010.02502, equation 12) at the timesteps `steps`."""
    for timesteps in steps:
        noisy = schedule.noised(latents, noise, timesteps)
        latents, noise = schedule.separated(noisy, predict(noisy, timesteps, prompt_embeds), timesteps)
    return latents, noise


def missing_components(output: RecogniserOutput, expected: Sequence[Sequence[Sequence[int]]]) -> torch.Tensor:
    """For each image, the log-loss of its components being somewhere in the glyph, fp32 (R,).

    expected: for each image, for each of its components, the recogniser's classes for it.
    """
    probabilities = output.components.float().softmax(-1)
    losses = []
    for glyph, components in zip(probabilities, expected, strict=True):
        found = [glyph[:, to_device(torch.tensor(classes), glyph.device)].sum(-1) for classes in components]
        absent = [(1.0 - probability).clamp_min(MIN_PROBABILITY).prod() for probability in found]
        losses.append(-sum((torch.log(1.0 - chance + MIN_PROBABILITY) for chance in absent), glyph.new_zeros(())))
    return torch.stack(losses)


def component_classes(rows: Sequence[Row], originals: Sequence[str]) -> list[list[list[int]]]:
    """For each row, for each of its components, the recogniser's classes for it; none for one that it does not know.

    originals: the meaning form of each class, from class 1 on; class 0 is no component.
    """
    classes: dict[str, list[int]] = {}
    for number, original in enumerate(originals, 1):
        classes.setdefault(original, []).append(number)
    named = homonyms(rows)
    return [_classes_of(row, classes, named) for row in rows]


def _classes_of(row: Row, classes: Mapping[str, Sequence[int]],
                named: Mapping[str, frozenset[str]]) -> list[list[int]]:
    components = {forms_alike(component, named) for component in row.metadata.get("components") or ()}
    known = [sorted(number for form in forms for number in classes.get(form, ())) for forms in components]
    return sorted(filter(None, known))
