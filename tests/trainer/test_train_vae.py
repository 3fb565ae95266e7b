"""The autoencoder of the embedded base: its size, its latents, its command, and that training can be broken off."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageDraw

import train_vae
from common.checkpoints import CheckpointError
from common.errors import DivergenceError
from common.files import sha256
from common.stop_signals import Stopped, StopSignals
from dataset.rows import Row
from icon_fixtures import save_icons
from models.tiny import new_unet, new_vae
from trainer import autoencoder
from trainer.autoencoder import VaeConfig, normalise_latents, reconstruction_errors
from training_fixtures import save_dataset

CONFIG = VaeConfig(steps=4, batch_size=2, crop=32, line_art_fraction=0.5, checkpointing_steps=2)


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
        made.append(Row(folder / f"{number}.png", sha256(folder / f"{number}.png"), ("a",), {}))
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
    assert reconstruction_errors(whole, rows, 1) == reconstruction_errors(resumed, rows, 1)


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


def test_the_command_writes_an_autoencoder_and_says_its_error_on_held_out_glyphs(tmp_path, capsys):
    data = save_dataset(tmp_path / "data", count=4)
    shutil.copytree(data / "train", data / "test")
    arguments = ["--train_data_dir", str(data), "--output_dir", str(tmp_path / "run"), "--steps", "2",
                 "--batch_size", "2", "--crop", "32", "--line_art_measured", "1"]
    assert train_vae.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "over held-out glyphs" in printed and "over line art, lines of 8 px" in printed
    errors = json.loads((tmp_path / "run" / "reconstruction.json").read_text())
    assert len(errors) == 12 and all(0.0 < error < 2.0 for error in errors.values())
    assert str(tmp_path / "run" / "vae") in printed
    weights = tmp_path / "run" / "vae" / "diffusion_pytorch_model.safetensors"
    vae = AutoencoderKL.from_pretrained(weights.parent)
    assert (vae.config.in_channels, vae.config.latent_channels, vae.config.scaling_factor) == (1, 4, 1.0)

    written = weights.read_bytes()
    weights.unlink()
    assert train_vae.main(arguments) == 0
    assert weights.read_bytes() == written, "resumed from the last checkpoint"
    assert train_vae.main([*arguments, "--seed", "1"]) == 1
    assert "--seed: was 0, is 1" in capsys.readouterr().err


def test_the_command_refuses_a_crop_that_is_larger_than_a_glyph(capsys):
    with pytest.raises(SystemExit):
        train_vae.main(["--crop", "136"])
    assert "--crop 136: must be" in capsys.readouterr().err


def test_the_command_learns_from_icons_with_their_names_beside_them(tmp_path, capsys):
    icons = save_icons(tmp_path / "icons", inner=False)
    assert train_vae.main(["--train_data_dir", str(icons), "--output_dir", str(tmp_path / "run"), "--steps", "2",
                           "--batch_size", "2", "--crop", "32", "--line_art_measured", "0"]) == 0
    assert f"autoencoder: {tmp_path / 'run' / 'vae'}" in capsys.readouterr().out
    assert AutoencoderKL.from_pretrained(tmp_path / "run" / "vae").config.latent_channels == 4


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_of_what_is_seen_the_fraction_asked_for_is_line_art_and_none_of_it_twice(fraction):
    config = VaeConfig(batch_size=8, line_art_fraction=fraction)
    indices = [index for step in range(50) for index in autoencoder._line_art_indices(config, step)]
    assert indices == list(range(round(50 * 8 * fraction)))


def test_crops_of_line_art_stand_beside_those_of_glyphs(glyphs):
    white = torch.full_like(glyphs, 255)
    crops = autoencoder._crops(white, VaeConfig(batch_size=32, line_art_fraction=0.25), seed=0, step=3)
    assert crops.shape == (32, 1, 64, 64)
    assert (crops[:8] < 1.0).any(), "eight are of line art"
    assert (crops[8:] == 1.0).all(), "all others are of glyphs, which are white here"
    assert autoencoder._crops(white, VaeConfig(line_art_fraction=0.0), seed=0, step=3).min() == 1.0


def test_glyphs_are_seen_as_before_where_no_line_art_is(glyphs):
    """A glyph's place in a batch and its crop do not depend on how much line art there is."""
    alone = autoencoder._crops(glyphs, VaeConfig(line_art_fraction=0.0), seed=0, step=0)
    beside = autoencoder._crops(glyphs, VaeConfig(line_art_fraction=0.25), seed=0, step=0)
    assert torch.equal(alone[8:], beside[8:])
    assert not torch.equal(alone[:8], beside[:8])
