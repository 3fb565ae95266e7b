"""What differs between families of models is asked of one adapter: schedule, targets, weights, layers, latents."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, PNDMScheduler
from diffusers.training_utils import compute_snr

from models.families import StableDiffusion, Tiny, family_of
from models.hub import ModelError
from models.noise_schedule import NoiseSchedule
from models.pipelines import load_pipeline
from models.tiny import tiny_scheduler
from training_fixtures import save_base

CPU = torch.device("cpu")
PREDICTIONS = ("epsilon", "v_prediction")


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_the_weights_are_min_snr_as_diffusers_script_has_them(prediction_type: str) -> None:
    scheduler = DDPMScheduler(prediction_type=prediction_type, beta_schedule="scaled_linear")
    timesteps = torch.arange(0, 1000, 37)
    snr = compute_snr(scheduler, timesteps)
    weights = torch.stack([snr, 5.0 * torch.ones_like(snr)], dim=1).min(dim=1)[0]
    weights = weights / (snr if prediction_type == "epsilon" else snr + 1)
    assert torch.allclose(NoiseSchedule(scheduler, CPU).min_snr_weights(timesteps, 5.0), weights)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_zero_terminal_snr_gives_finite_weights(prediction_type: str) -> None:
    scheduler = DDPMScheduler(prediction_type=prediction_type, rescale_betas_zero_snr=True)
    assert torch.isfinite(NoiseSchedule(scheduler, CPU).min_snr_weights(torch.arange(1000), 5.0)).all()


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_the_target_separates_what_was_noised(prediction_type: str) -> None:
    torch.manual_seed(0)
    schedule = NoiseSchedule(DDPMScheduler(prediction_type=prediction_type, beta_schedule="scaled_linear"), CPU)
    latents, noise, timesteps = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([10, 400, 900])
    noisy, target = schedule.noised(latents, noise, timesteps), schedule.target(latents, noise, timesteps)
    for given, found in zip((latents, noise), schedule.separated(noisy, target, timesteps), strict=True):
        assert torch.allclose(given, found, atol=1e-3)


def test_the_noise_schedule_is_the_bases_own_whatever_its_sampler() -> None:
    tiny = tiny_scheduler()
    assert torch.equal(NoiseSchedule(tiny, CPU).alphas_cumprod[:-1], tiny.alphas_cumprod[:-1])
    assert NoiseSchedule(tiny, CPU).predicts_v
    pndm = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert torch.equal(NoiseSchedule(pndm, CPU).alphas_cumprod, pndm.alphas_cumprod)
    assert len(NoiseSchedule(pndm, CPU)) == 1000


def test_a_base_that_predicts_something_else_is_refused() -> None:
    with pytest.raises(ModelError, match="'sample'"):
        NoiseSchedule(EulerDiscreteScheduler(prediction_type="sample"), CPU)


def test_a_pipeline_has_one_family_and_what_is_none_is_refused(tmp_path) -> None:
    assert type(family_of(load_pipeline(str(save_base(tmp_path / "sd2", "sd2"))))) is StableDiffusion
    assert type(family_of(load_pipeline("tiny"))) is Tiny
    with pytest.raises(ModelError, match="SimpleNamespace"):
        family_of(SimpleNamespace(text_encoder=None))


def test_a_resolution_or_a_unet_that_latents_do_not_fit_is_refused(tmp_path) -> None:
    pipeline = load_pipeline(str(save_base(tmp_path / "base")))
    assert StableDiffusion().latent_shape(pipeline, 32) == (4, 16, 16)
    with pytest.raises(ModelError, match="must be a multiple of 2"):
        StableDiffusion().latent_shape(pipeline, 33)
    pipeline.unet.register_to_config(in_channels=9)
    with pytest.raises(ModelError, match="inpainting or depth"):
        StableDiffusion().latent_shape(pipeline, 32)


def test_muon_has_the_inner_matrices_and_kernels_alone(tmp_path) -> None:
    unet = load_pipeline(str(save_base(tmp_path / "base"))).unet
    matrices = {name for name, weight in unet.named_parameters() if StableDiffusion().is_matrix(name, weight)}
    assert "down_blocks.0.resnets.0.conv1.weight" in matrices
    assert not any(name.startswith(("conv_in", "conv_out", "time_embedding")) or name.endswith("bias")
                   for name in matrices)
