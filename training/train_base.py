"""Train the embedded base from nothing: a small autoencoder, then a small UNet over MiniLM's token states.

    python training/train_base.py --train_data_dir data/kanji --output_dir runs/tiny-base

Both stages go on where they stopped. The result, `<output_dir>/tiny/` (vae/, unet/, scheduler/, README.md in fp16), is
what training/tiny ships; copy it there to ship it. The UNet is trained by the same trainer as any other base: its
settings are flags with the prefix `unet.`, the autoencoder's have `vae.`.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch_environment  # noqa: F401 - before torch

# isort: split

import torch

import model_card
from bases import MINILM_WIDTH, tiny_scheduler
from captioned_dataset import read_dataset
from command_line import parse
from config import PRESETS, TrainConfig
from quiet import known_noise_off
from run_folder import write_atomically
from stop_signals import Stopped, StopSignals
from train_text_to_image import USER_ERRORS, train
from train_vae import VaeConfig, reconstruction_error, train_vae

with known_noise_off():
    from diffusers import AutoencoderKL, UNet2DConditionModel

LATENT_SIDE = 16  # of a 128 px glyph


def _unet_settings() -> TrainConfig:
    """The base's recipe: Muon at a higher rate than fine-tuning's, constant until a cooldown so that it can go on."""
    return replace(PRESETS["tiny"], optimizer="muon", max_train_steps=20_000, learning_rate=5e-4,
                   lr_scheduler="constant_with_warmup", lr_warmup_steps=200, lr_cooldown_steps=2_000,
                   checkpointing_steps=500, validation_steps=1_000, ema_decay=0.999)


@dataclass(frozen=True)
class BaseConfig:
    """Settings of the embedded base's training."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder, with composed characters."""
    output_dir: Path = Path("runs/tiny-base")
    """Where both stages keep their runs."""
    seed: int = 0
    """Seed of the first weights and of every draw."""
    vae: VaeConfig = field(default_factory=VaeConfig)
    """The autoencoder's settings."""
    unet: TrainConfig = field(default_factory=_unet_settings)
    """The UNet's settings; data, run folder, base and seed are set from those above."""


def main() -> None:
    """Train both stages and export the result."""
    config = parse(BaseConfig, sys.argv[1:], description=__doc__, program="train_base.py")
    try:
        base = autoencoder_stage(config)
        pipeline_dir = unet_stage(config, base)
        export(pipeline_dir, config)
    except (*USER_ERRORS, FloatingPointError, OSError) as error:
        sys.exit(f"error: {error}")


def new_unet() -> UNet2DConditionModel:
    """The untrained UNet: 15.6 M parameters, cross-attention at 8x8 and 4x4 latents and none at 16x16.

    Without attention at 16x16 a step takes a quarter less time, which buys more than it costs.
    """
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(96, 192, 192),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=MINILM_WIDTH, attention_head_dim=(3, 6, 6), norm_num_groups=32)


def autoencoder_stage(config: BaseConfig) -> Path:
    """Train the autoencoder and lay an untrained UNet beside it: the base that the UNet stage starts from."""
    base = config.output_dir / "base"
    if (base / "scheduler").is_dir():
        return base
    rows = read_dataset(config.train_data_dir)
    with StopSignals() as stop:
        try:
            vae = train_vae(rows, config.output_dir / "vae", config.vae, config.seed, stop)
        except Stopped as stopped:
            print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
            sys.exit(stopped.exit_status)
    held_out = read_dataset(config.train_data_dir, "test")
    print(f"autoencoder: mean absolute error {reconstruction_error(vae, held_out):.4f} on [-1, 1] over "
          f"{len(held_out)} held-out glyphs")
    building = config.output_dir / ".tmp-base"
    shutil.rmtree(building, ignore_errors=True)
    vae.save_pretrained(building / "vae")
    save_untrained(building, config.seed)
    building.rename(base)
    return base


def save_untrained(folder: Path, seed: int) -> None:
    """Lay the seed's untrained UNet and the scheduler beside the autoencoder in `folder`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = new_unet()
    unet.save_pretrained(folder / "unet")
    tiny_scheduler().save_pretrained(folder / "scheduler")


def unet_stage(config: BaseConfig, base: Path) -> Path:
    """Train the UNet with the trainer that serves every base; returns its pipeline folder."""
    return train(replace(
        config.unet, pretrained_model_name_or_path=str(base), train_data_dir=config.train_data_dir,
        output_dir=config.output_dir / "unet", seed=config.seed))


def export(pipeline_dir: Path, config: BaseConfig) -> Path:
    """Write what training/tiny ships: VAE, UNet and scheduler in fp16 without MiniLM, and their card."""
    target = config.output_dir / "tiny"
    shutil.rmtree(target, ignore_errors=True)
    for name, kind in (("vae", AutoencoderKL), ("unet", UNet2DConditionModel)):
        kind.from_pretrained(pipeline_dir / name, torch_dtype=torch.float16).save_pretrained(target / name)
        settings = json.loads((target / name / "config.json").read_text(encoding="utf8"))
        settings.pop("_name_or_path", None)  # a folder of this machine is nobody else's business
        write_atomically(target / name / "config.json", json.dumps(settings, indent=2) + "\n")
    shutil.copytree(pipeline_dir / "scheduler", target / "scheduler")
    shutil.copy(pipeline_dir / "samples.png", target / "samples.png")
    write_atomically(target / "README.md", model_card.base_text(config.unet))
    print(f"the embedded base: {target}")
    return target


if __name__ == "__main__":
    main()
