"""The loss is the one that the base was made with, and a term's weight and name count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler

from dataset.batches import Batch
from models.families import StableDiffusion
from models.noise_schedule import NoiseSchedule
from trainer.losses import DiffusionTerm, unwrapped
from training_fixtures import batch_of

CPU = torch.device("cpu")


def batch(count: int = 5) -> Batch:
    torch.manual_seed(0)
    return batch_of(torch.randn(count, 4, 8, 8), torch.randn(count, 4, 8, 8), torch.tensor([0, 10, 400, 900, 999]),
                    torch.zeros(count, 1, 1))


def term(prediction_type: str = "epsilon", snr_gamma: float | None = 5.0, reference: object = None) -> DiffusionTerm:
    schedule = NoiseSchedule(DDPMScheduler(prediction_type=prediction_type), CPU)
    return DiffusionTerm(StableDiffusion(), schedule, snr_gamma, reference)


def predicting(answer: torch.Tensor) -> Callable[..., tuple[torch.Tensor]]:
    return lambda *_, **__: (answer,)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_costs_nothing(prediction_type: str) -> None:
    given, one = batch(), term(prediction_type)
    loss = one(predicting(one.schedule.target(given.latents, given.noise, given.timesteps)), given)
    assert loss.shape == (5,)
    assert loss.abs().max() == 0


def test_the_network_sees_the_noised_latents_their_timesteps_and_the_prompts() -> None:
    given, seen = batch(), []

    def network(*arguments: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        seen.extend(arguments)
        return (torch.zeros_like(given.latents),)

    loss = term(snr_gamma=None)(network, given)
    assert torch.equal(seen[0], DDPMScheduler().add_noise(given.latents, given.noise, given.timesteps))
    assert seen[1] is given.timesteps
    assert seen[2] is given.prompt_embeds
    assert torch.allclose(loss, given.noise.square().mean((1, 2, 3)))


def test_the_error_is_weighted_as_the_schedule_says() -> None:
    given = batch()
    answer = predicting(torch.zeros_like(given.latents))
    weights = term().schedule.min_snr_weights(given.timesteps, 5.0)
    assert torch.equal(term()(answer, given), term(snr_gamma=None)(answer, given) * weights)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_negative_sample_leads_away_as_far_as_a_plain_one_leads_to_it(prediction_type: str) -> None:
    plain = batch()
    mixed = replace(plain, negative=torch.tensor([1, 3]))
    base, now = torch.randn_like(plain.latents), torch.randn_like(plain.latents).requires_grad_()
    seen = []

    def reference(noisy: torch.Tensor, *_: torch.Tensor, **__: object) -> tuple[torch.Tensor]:
        seen.append(len(noisy))
        return (base[mixed.negative],)

    loss = term(prediction_type, reference=reference)
    to, away = loss(predicting(now), plain), loss(predicting(now), mixed)
    assert seen == [2]
    others = torch.tensor([0, 2, 4])
    assert torch.equal(to[others], away[others])
    assert not torch.isclose(to[mixed.negative], away[mixed.negative]).any()

    def gradient(prediction: torch.Tensor, given: Batch) -> torch.Tensor:
        return torch.autograd.grad(loss(predicting(prediction), given).sum(), prediction)[0]

    at_the_base = base.clone().requires_grad_()
    assert torch.allclose(gradient(at_the_base, mixed)[mixed.negative], -gradient(at_the_base, plain)[mixed.negative],
                          atol=1e-6)  # the base sets out the opposite way
    assert torch.equal(gradient(now, plain)[others], gradient(now, mixed)[others])


def test_a_compiled_network_is_unwrapped() -> None:
    network = torch.nn.Linear(2, 2)
    assert unwrapped(network) is network
    assert unwrapped(torch.compile(network)) is network
