"""The reward loss samples as the base's scheduler says, and its gradient makes better images."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, SchedulerMixin

from dataset.rows import Row
from models.families import StableDiffusion
from models.noise_schedule import NoiseSchedule
from models.pipelines import load_pipeline
from recogniser.judge import Judge
from recogniser_fixtures import save_judge
from trainer.reward_loss import MARGIN, Predict, RewardTerm, ended_latents, scoring_device
from training_fixtures import batch_of, save_base

CPU = torch.device("cpu")
TIMESTEPS = torch.tensor([300, 450, 690])


class Oracle:
    """Predicts, for known latents, the noise or the velocity that is in what it is given."""

    def __init__(self, latents: torch.Tensor, scheduler: DDPMScheduler) -> None:
        self.latents, self.scheduler = latents, scheduler
        self.times: list[list[int]] = []

    def __call__(self, noisy: torch.Tensor, timesteps: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor]:
        self.times.append(timesteps.tolist())
        alpha = self.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * self.latents) / (1.0 - alpha).sqrt()
        if self.scheduler.config.prediction_type == "epsilon":
            return (noise,)
        return (self.scheduler.get_velocity(self.latents, noise, timesteps),)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"), "sd2")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge.load(save_judge(tmp_path_factory.mktemp("judge"), sharpness=30.0), dataset=None)


def samples() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"latents": torch.randn(3, 4, 16, 16), "noise": torch.randn(3, 4, 16, 16), "timesteps": TIMESTEPS,
            "prompt_embeds": torch.randn(3, 77, 48)}


def row(*elements: str, kind: str = "drawn") -> Row:
    return Row(Path("1.png"), "", ("mouth",), {"kind": kind, "components": [{"element": one} for one in elements]})


ROWS = [row(), row("口"), row("口", "十"), row("𠮷")]
FIRST = (0, 0, 0)  # the row of each sample


def term(scheduler: SchedulerMixin, vae: AutoencoderKL, judge: Judge, rows: list[Row]) -> RewardTerm:
    return RewardTerm(StableDiffusion(), NoiseSchedule(scheduler, CPU), vae, judge, rows, 0.2, CPU)


def predict(oracle: Oracle) -> Predict:
    return partial(StableDiffusion().predict, oracle)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_gives_the_image_back_and_its_reading_is_the_loss(
        base: Path, judge: Judge, prediction_type: str) -> None:
    given, own = samples(), torch.ones(3, dtype=torch.bool)
    latents = given["latents"]
    scheduler = DDPMScheduler(prediction_type=prediction_type, beta_schedule="scaled_linear")
    vae, oracle = load_pipeline(str(base)).vae, Oracle(latents, scheduler)
    ended = ended_latents(predict(oracle), NoiseSchedule(scheduler, CPU), **given, is_own=own)
    assert torch.allclose(ended, latents, atol=1e-3)
    assert oracle.times == [[300, 450, 690], [186, 279, 427], [84, 126, 193]]

    loss = term(scheduler, vae, judge, ROWS)
    with torch.no_grad():
        pictures = vae.decode(latents / vae.config.scaling_factor).sample.mean(1, keepdim=True)
        ink = F.interpolate(((1.0 - pictures) / 2).clamp(0, 1), (64, 64), mode="area")
        seen = judge.network(ink)
        plain = loss(oracle, batch_of(**given, rows=FIRST))
        least = F.softplus(MARGIN - seen.well_formed)  # this judge's threshold is a logit of 0
    assert plain.shape == (3,) and (plain > least - 1e-3).all() and (plain < least + 2.0).all()

    with torch.no_grad():
        error = loss(oracle, batch_of(**given, rows=FIRST, strokes=(0, 30, 30))) - plain
        missing = loss(oracle, batch_of(**given, rows=(1, 2, 3))) - plain
    asked = torch.tensor([0, 1, 1])
    assert torch.allclose(error, 0.3 * asked * ((seen.expected_strokes() - 30).abs() - 0.5), atol=1e-2)

    probabilities, classes = seen.components.softmax(-1), judge.vocabulary.classes()
    found = {element: torch.log(1.0 - (1.0 - probabilities[:, :, classes[element]]).prod(-1) + 1e-4)
             for element in "口十"}
    expected = torch.stack([-found["口"][0], -found["口"][1] - found["十"][1], torch.zeros(())])
    assert torch.allclose(missing, expected, atol=2e-2)  # of the third row nothing is known

    named = [Row(Path("1.png"), "", ("mouth",), {"kind": "drawn", "components": [
        {"element": element, "meaning": "mouth"}]}) for element in "口十"]
    with torch.no_grad():
        either = term(scheduler, vae, judge, named)(oracle, batch_of(**given, rows=(0, 1, 0))) - plain
    absent = (1.0 - probabilities[:, :, [classes["口"], classes["十"]]].sum(-1)).prod(-1)
    assert torch.allclose(either, -torch.log(1.0 - absent + 1e-4), atol=2e-2)  # any component of the name will do


def test_samples_that_are_not_scored_cost_nothing(base: Path, judge: Judge) -> None:
    pipeline = load_pipeline(str(base))
    loss = term(pipeline.scheduler, pipeline.vae, judge, ROWS)
    some = loss(pipeline.unet, batch_of(**samples(), rows=FIRST[:2]))
    assert (some[:2] > 0).all() and some[2] == 0
    none = loss(pipeline.unet, batch_of(**samples()))
    assert not none.any() and not none.requires_grad


def test_what_is_no_own_sample_is_begun_from_pure_noise_and_its_picture_is_not_used(base: Path, judge: Judge) -> None:
    given = samples()
    latents = given["latents"]
    given["latents"] = torch.full_like(latents, torch.nan)
    scheduler = DDPMScheduler(prediction_type="v_prediction", beta_schedule="scaled_linear")
    schedule, oracle = NoiseSchedule(scheduler, CPU), Oracle(latents[1:], scheduler)
    with pytest.raises(RuntimeError, match="size of tensor"):  # this oracle knows the two alone; then all three follow
        ended_latents(predict(oracle), schedule, **given, is_own=torch.tensor([True, False, False]))
    assert oracle.times[:5] == [[999, 999], [889, 937], [779, 875], [669, 813], [559, 751]]
    assert oracle.times[5] == [300, 450, 690]

    oracle = Oracle(latents, scheduler)
    ended = ended_latents(predict(oracle), schedule, **given, is_own=torch.zeros(3, dtype=torch.bool))
    assert torch.allclose(ended, latents, atol=1e-3) and len(oracle.times) == 8


@pytest.mark.parametrize("kind", ["drawn", "composed"])
def test_under_autocast_every_weight_has_its_gradient(base: Path, judge: Judge, kind: str) -> None:
    pipeline = load_pipeline(str(base))
    loss = term(pipeline.scheduler, pipeline.vae, judge, [row("口", kind=kind)])
    with torch.autocast("cpu", torch.bfloat16):
        loss(pipeline.unet, batch_of(**samples(), rows=FIRST)).mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in pipeline.unet.parameters())


def test_following_its_gradient_makes_images_that_the_recogniser_likes_better(base: Path, judge: Judge) -> None:
    pipeline = load_pipeline(str(base))
    loss = term(pipeline.scheduler, pipeline.vae, judge, ROWS)
    unet = pipeline.unet.train()
    optimizer = torch.optim.Adam(unet.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        one = loss(unet, batch_of(**samples(), rows=(2, 2, 2), strokes=(9, 9, 9))).mean()
        optimizer.zero_grad()
        one.backward()
        optimizer.step()
        losses.append(one.item())
    assert losses[-1] < losses[0] - 0.1 and all(weight.grad is None for weight in judge.network.parameters())


# --- on a GPU --------------------------------------------------------------------------------------------------------

META = torch.device("meta")  # has no values: whoever asks for one, or mixes it with the CPU, is refused


@pytest.mark.parametrize("kind", ["drawn", "composed"])
def test_it_is_scored_where_the_unet_runs_and_never_waits_for_the_device(
        base: Path, judge: Judge, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for meta
    pipeline = load_pipeline(str(base))
    schedule, rows = NoiseSchedule(pipeline.scheduler, META), [row("口", kind=kind), row("口", "十"), row()]
    loss = RewardTerm(StableDiffusion(), schedule, pipeline.vae, judge, rows, 0.2, META)
    batch = batch_of(**samples(), rows=(0, 1, 2), strokes=(9, 0, 30))
    names = ("latents", "noise", "timesteps", "prompt_embeds", "negative", "reward_indices")
    moved = {name: getattr(batch, name).to(META) for name in names}
    unet = pipeline.unet.to(META)
    one = loss(unet, replace(batch, **moved))
    one.mean().backward()
    assert one.device == META and one.shape == (3,)
    assert all(weight.grad is not None and weight.grad.device == META for weight in unet.parameters())
    assert judge.network.where.device == CPU, "left alone"


def test_where_results_must_be_deterministic_a_gpus_images_are_scored_on_the_cpu(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """torch refuses the backward passes of adaptive pooling and grid_sample there."""
    cuda = torch.device("cuda:1")
    assert scoring_device(cuda) == cuda and scoring_device(CPU) == CPU
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert scoring_device(cuda) == CPU == scoring_device(CPU)
