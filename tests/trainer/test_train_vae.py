"""The autoencoder of the embedded base: its size, its latents, and that its training can be broken off."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from common.checkpoints import CheckpointError
from common.errors import DivergenceError
from common.stop_signals import Stopped, StopSignals
from dataset.rows import Row
from models.tiny import new_unet, new_vae
from trainer import autoencoder
from trainer.autoencoder import VaeConfig, normalise_latents, reconstruction_error

CONFIG = VaeConfig(steps=4, batch_size=2, crop=32, checkpointing_steps=2)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Row]:
    """Five pictures of a few strokes each, no two alike."""
    folder = tmp_path_factory.mktemp("glyphs")
    made = []
    for number in range(5):
        picture = Image.new("L", (128, 128), "white")
        ink = ImageDraw.Draw(picture)
        ink.line((20, 30 + 10 * number, 108, 30 + 10 * number), fill=0, width=3)
        ink.line((64, 10, 64 - 8 * number, 118), fill=0, width=3)
        picture.save(folder / f"{number}.png")
        made.append(Row(folder / f"{number}.png", str(number), ("a",), {}))
    return made


@pytest.fixture(scope="module")
def glyphs(rows) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(Image.open(row.path)) for row in rows])[:, None])


def test_the_base_fits_into_its_share_of_the_repository():
    parameters = sum(weight.numel() for module in (new_vae(), new_unet()) for weight in module.parameters())
    assert 2 * parameters < 40e6  # bytes in fp16


def test_normalised_latents_are_centred_and_pictures_come_back_as_before(glyphs):
    torch.manual_seed(0)
    vae = new_vae().eval()
    pictures = glyphs.float() / 127.5 - 1.0
    with torch.no_grad():
        vae.quant_conv.bias += torch.linspace(-2.0, 2.0, 8)
        before = vae.decode(vae.encode(pictures).latent_dist.mode()).sample
        posterior = vae.encode(pictures).latent_dist
        spread_before = posterior.std / posterior.mean.std((0, 2, 3))[:, None, None]
        normalise_latents(vae, glyphs)
        posterior = vae.encode(pictures).latent_dist
        after = vae.decode(posterior.mode()).sample
    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(posterior.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(posterior.mean.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    assert torch.allclose(posterior.std, spread_before, rtol=1e-3)
    assert vae.config.scaling_factor == 1.0


def test_training_broken_off_and_resumed_equals_one_that_was_not(rows, tmp_path, monkeypatch):
    with StopSignals() as stop:
        whole = autoencoder.train_vae(rows, tmp_path / "whole", CONFIG, 0, stop)

    update, done = autoencoder._update, []

    def stopping_update(*arguments):
        if len(done) == 2:
            stop.received = 15
        done.append(None)
        return update(*arguments)

    monkeypatch.setattr(autoencoder, "_update", stopping_update)
    with StopSignals() as stop, pytest.raises(Stopped):
        autoencoder.train_vae(rows, tmp_path / "broken", CONFIG, 0, stop)
    monkeypatch.undo()
    with StopSignals() as stop:
        resumed = autoencoder.train_vae(rows, tmp_path / "broken", CONFIG, 0, stop)
        other = autoencoder.train_vae(rows, tmp_path / "other", CONFIG, 1, stop)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert any(not torch.equal(weight, other.state_dict()[name]) for name, weight in whole.state_dict().items())
    assert reconstruction_error(whole, rows) == reconstruction_error(resumed, rows)


def test_other_settings_are_refused_rather_than_mixed(rows, tmp_path):
    with StopSignals() as stop:
        autoencoder.train_vae(rows, tmp_path, CONFIG, 0, stop)
        with pytest.raises(CheckpointError, match="other settings"):
            autoencoder.train_vae(rows, tmp_path, CONFIG, 1, stop)


def test_a_loss_that_is_not_finite_stops_before_the_update(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "_losses", lambda *_: (torch.tensor(float("nan")), torch.tensor(0.0)))
    with StopSignals() as stop, pytest.raises(DivergenceError, match="step 0"):
        autoencoder.train_vae(rows, tmp_path, CONFIG, 0, stop)
    assert not list(tmp_path.glob("checkpoint-*"))
