"""What the sampler promises: guidance in the noisier steps, and images that depend on their own seeds alone."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import generate as generate_command
from common.errors import UserError
from dataset.captions import words_alone
from generation import sampling
from generation.sampling import draw, sample, use_fast_sampler
from generation.settings import SamplingSettings
from models.families import encode_prompts
from models.pipelines import load_pipeline
from training_fixtures import save_base

PROMPTS = ["moon", "water tree"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory):
    pipeline = load_pipeline(str(save_base(tmp_path_factory.mktemp("base"), "sd2")))
    use_fast_sampler(pipeline)
    return pipeline


def pixels(pipeline, prompts: list[str], seeds: list[int], **options) -> list[np.ndarray]:
    encoded = encode_prompts(pipeline, [*prompts, ""], torch.device("cpu"))
    images = sample(pipeline, encoded[:-1], [encoded[-1:]], seeds, steps=5, resolution=32, **options)
    return [np.asarray(image, dtype=float) for image in images]


@pytest.mark.parametrize(("guided_fraction", "sizes"), [(0.6, [4, 4, 4, 2, 2]), (1.0, [4] * 5), (0.0, [2] * 5)])
def test_guidance_is_in_its_fraction_of_the_steps_and_the_others_cost_half(
        guided_fraction: float, sizes: list[int], pipeline) -> None:
    seen = []
    watching = pipeline.unet.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    try:
        pixels(pipeline, PROMPTS, [0, 1], guidance_scale=4.0, guided_fraction=guided_fraction)
    finally:
        watching.remove()
    assert seen == sizes


def test_the_negative_prompt_is_empty_and_the_words_without_their_strokes_in_turn(pipeline) -> None:
    prompts = ["moon, 8 strokes", "tree"]
    encoded = encode_prompts(pipeline, [*prompts, "", "moon"], torch.device("cpu"))
    seen = []
    watching = pipeline.unet.register_forward_pre_hook(
        lambda _module, _given, named: seen.append(named["encoder_hidden_states"]), with_kwargs=True)
    settings = SamplingSettings(steps=5, guidance_scale=4.0, guided_fraction=0.8)
    try:
        [counted] = draw(pipeline, settings, prompts, [0, 1])
        [images] = draw(pipeline, settings, prompts[1:], [1])
    finally:
        watching.remove()
    turns = [torch.cat([encoded[[2, 2]], encoded[:2]]), torch.cat([encoded[[3, 2]], encoded[:2]])]
    assert all(torch.allclose(given, turns[step % 2], atol=1e-5) for step, given in enumerate(seen[:4]))
    assert torch.allclose(seen[4], encoded[:2], atol=1e-5)
    assert all(torch.allclose(given, encoded[[2, 1]], atol=1e-5) for given in seen[5:9])
    same = [np.asarray(image, dtype=float) for image in (counted[1], images[0])]
    assert np.abs(same[0] - same[1]).max() <= 1.0, "a prompt beside it changes nothing"


@pytest.mark.parametrize(("prompt", "words"), [
    ("moon, 8 strokes", "moon"), ("to eat, 1 stroke", "to eat"), ("a, 3 strokes, 12 strokes", "a, 3 strokes"),
    ("moon", ""), ("", ""), ("moon, many strokes", ""), ("8 strokes", "")])
def test_the_words_of_a_prompt_that_names_strokes_are_told_from_the_number(prompt: str, words: str) -> None:
    assert words_alone(prompt) == words


def test_unguided_steps_follow_the_words(pipeline) -> None:
    """Of the doubled batch it is the half with the caption that is sampled from, not the empty one."""
    with_words, = pixels(pipeline, ["moon"], [0], guidance_scale=1.0)
    hardly_guided, = pixels(pipeline, ["moon"], [0], guidance_scale=1.0 + 1e-6, guided_fraction=0.2)
    other_words, = pixels(pipeline, [""], [0], guidance_scale=1.0)
    assert np.abs(with_words - hardly_guided).max() <= 1.0  # grey levels
    assert np.abs(with_words - other_words).max() > 1.0


def test_an_image_depends_on_its_own_seed_alone(pipeline) -> None:
    """The noise that each step adds is drawn from the image's generator too."""
    moon, tree = pixels(pipeline, PROMPTS, [3, 4], guidance_scale=4.0)
    alone, = pixels(pipeline, ["water tree"], [4], guidance_scale=4.0)
    other, = pixels(pipeline, ["water tree"], [3], guidance_scale=4.0)
    assert np.abs(tree - alone).max() <= 1.0
    assert np.abs(tree - other).mean() > 1.0
    assert np.abs(moon - tree).mean() > 1.0


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_more_steps_than_the_noise_schedule_has_are_refused(pipeline, monkeypatch, spacing: str) -> None:
    """Of a timestep that comes twice only NaN is drawn, which would be saved as black."""
    monkeypatch.setattr(pipeline, "scheduler", type(pipeline.scheduler).from_config(
        pipeline.scheduler.config, timestep_spacing=spacing))
    for steps in (1001, 10**12):
        with pytest.raises(UserError, match=f"--steps {steps}: more than"):
            next(draw(pipeline, SamplingSettings(steps=steps), ["moon"], [0]))


@pytest.mark.parametrize("part", ["unet", "vae.decoder"])
def test_an_image_of_weights_that_are_not_numbers_is_an_error_and_not_black(
        tmp_path, capsys, part: str) -> None:
    harmed = load_pipeline(str(save_base(tmp_path / "base", channels=1)))
    next(operator.attrgetter(part)(harmed).parameters()).data.fill_(float("nan"))
    harmed.save_pretrained(tmp_path / "base")
    flags = ["moon", "--plan", "off", "--steps", "2", "--model", str(tmp_path / "base"), "--output"]
    assert generate_command.main([*flags, str(tmp_path / "drawn")]) == 1
    assert "not finite" in capsys.readouterr().err
    assert not list((tmp_path / "drawn").glob("*"))


def test_all_that_draw_do_it_in_what_the_device_is_fast_in(pipeline, monkeypatch) -> None:
    asked = []

    @contextmanager
    def arithmetic(device: torch.device) -> Iterator[None]:
        asked.append(device)
        yield

    monkeypatch.setattr(sampling, "autocast_on_gpu", arithmetic)
    images = [image for batch in draw(pipeline, SamplingSettings(steps=2), PROMPTS, [1, 2]) for image in batch]
    assert len(images) == 2 and asked == [torch.device("cpu")]
