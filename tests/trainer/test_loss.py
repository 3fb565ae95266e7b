"""The loss is the one that the base was made with: epsilon or v, weighted as min-SNR says."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, PNDMScheduler
from diffusers.training_utils import compute_snr

from models.tiny import tiny_scheduler
from trainer.diffusion_loss import DiffusionLoss, LossError

CPU = torch.device("cpu")


def inputs(count: int = 5) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    latents, noise = torch.randn(count, 4, 8, 8), torch.randn(count, 4, 8, 8)
    return latents, noise, torch.tensor([0, 10, 400, 900, 999]), torch.zeros(1)


def test_a_perfect_prediction_costs_nothing() -> None:
    latents, noise, timesteps, text = inputs()
    for prediction_type in ("epsilon", "v_prediction"):
        scheduler = DDPMScheduler(prediction_type=prediction_type)
        target = noise if prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
        loss = DiffusionLoss(scheduler, 5.0, CPU)(lambda *_, answer=target, **__: (answer,), latents, noise, timesteps,
                                                 text)
        assert loss.shape == (5,)
        assert loss.abs().max() == 0


def test_the_unet_sees_the_noised_latents_its_timesteps_and_the_text() -> None:
    latents, noise, timesteps, text = inputs()
    seen = []

    def unet(*arguments: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        seen.extend(arguments)
        return (torch.zeros_like(latents),)

    loss = DiffusionLoss(DDPMScheduler(), None, CPU)(unet, latents, noise, timesteps, text)
    assert torch.equal(seen[0], DDPMScheduler().add_noise(latents, noise, timesteps))
    assert seen[1] is timesteps
    assert seen[2] is text
    assert torch.allclose(loss, noise.square().mean((1, 2, 3)))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_rejected_picture_is_led_away_from_as_far_as_the_plain_loss_leads_to_it(prediction_type: str) -> None:
    latents, noise, timesteps, text = inputs()
    text = text.expand(5)
    before, now = torch.randn_like(latents), torch.randn_like(latents).requires_grad_()
    told = []

    def reference(noisy: torch.Tensor, *_: torch.Tensor, **__: object) -> tuple[torch.Tensor]:
        told.append(len(noisy))
        return (before[rejected],)

    rejected = torch.tensor([1, 3])
    loss = DiffusionLoss(DDPMScheduler(prediction_type=prediction_type), 5.0, CPU, reference)
    plain = loss(lambda *_, **__: (now,), latents, noise, timesteps, text)
    mixed = loss(lambda *_, **__: (now,), latents, noise, timesteps, text, rejected)
    assert told == [2]
    others = torch.tensor([0, 2, 4])
    assert torch.equal(plain[others], mixed[others]) and not torch.isclose(plain[rejected], mixed[rejected]).any()

    (to,), (away,) = (torch.autograd.grad(
        loss(lambda *_, **__: (now,), latents, noise, timesteps, text, which).sum(), now) for which in (None, rejected))
    at_the_base = before.clone().requires_grad_()
    (to_base,), (away_base,) = (torch.autograd.grad(
        loss(lambda *_, **__: (at_the_base,), latents, noise, timesteps, text, which).sum(), at_the_base)
        for which in (None, rejected))
    assert torch.allclose(away_base[rejected], -to_base[rejected], atol=1e-6)  # the base sets out the opposite way
    assert torch.equal(to[others], away[others])


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_weights_are_min_snr_as_diffusers_script_has_them(prediction_type: str) -> None:
    scheduler = DDPMScheduler(prediction_type=prediction_type, beta_schedule="scaled_linear")
    timesteps = torch.arange(0, 1000, 37)
    snr = compute_snr(scheduler, timesteps)
    weights = torch.stack([snr, 5.0 * torch.ones_like(snr)], dim=1).min(dim=1)[0]
    weights = weights / (snr if prediction_type == "epsilon" else snr + 1)
    assert torch.allclose(DiffusionLoss(scheduler, 5.0, CPU).weights(timesteps), weights)


def test_zero_terminal_snr_gives_finite_weights() -> None:
    for prediction_type in ("epsilon", "v_prediction"):
        scheduler = DDPMScheduler(prediction_type=prediction_type, rescale_betas_zero_snr=True)
        weights = DiffusionLoss(scheduler, 5.0, CPU).weights(torch.arange(1000))
        assert torch.isfinite(weights).all()


def test_the_noise_schedule_is_the_bases_own_whatever_its_sampler() -> None:
    tiny = tiny_scheduler()
    assert torch.equal(DiffusionLoss(tiny, None, CPU).schedule.alphas_cumprod[:-1], tiny.alphas_cumprod[:-1])
    assert DiffusionLoss(tiny, None, CPU).prediction_type == "v_prediction"
    pndm = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert torch.equal(DiffusionLoss(pndm, None, CPU).schedule.alphas_cumprod, pndm.alphas_cumprod)


def test_a_base_that_predicts_something_else_is_refused() -> None:
    with pytest.raises(LossError, match="'sample'"):
        DiffusionLoss(EulerDiscreteScheduler(prediction_type="sample"), None, CPU)
