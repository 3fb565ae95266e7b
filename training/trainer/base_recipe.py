"""The embedded base's training: its autoencoder, then its UNet, then what is shipped."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from common.files import appearing, write_text
from common.quiet import known_noise_off
from common.settings import check_ranges, setting
from common.stop_signals import StopSignals
from models.component_tokens import save_table
from models.tiny import save_untrained
from trainer import model_card
from trainer.autoencoder import VaeConfig, train_on_folder
from trainer.config import TrainConfig
from trainer.presets import PRESETS
from trainer.run import train

with known_noise_off():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import AutoTokenizer


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
    seed: int = setting(0, at_least=0)
    """Seed of the first weights and of everything random in a step."""
    vae: VaeConfig = field(default_factory=VaeConfig)
    """The autoencoder's settings."""
    unet: TrainConfig = field(default_factory=_unet_settings)
    """The UNet's settings; data, run folder, base and seed are set from those above."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


def autoencoder_stage(config: BaseConfig, stop: StopSignals) -> Path:
    """Train the autoencoder and lay an untrained UNet beside it: the base that the UNet stage starts from."""
    base = config.output_dir / "base"
    if (base / "scheduler").is_dir():
        return base
    vae = train_on_folder(config.train_data_dir, config.output_dir / "vae", config.vae, config.seed, stop)
    with appearing(base) as building:
        vae.save_pretrained(building / "vae")
        save_untrained(building, config.seed)
    return base


def unet_stage(config: BaseConfig, base: Path, stop: StopSignals) -> Path:
    """Train the UNet with the trainer that serves every base; returns its pipeline folder."""
    return train(replace(
        config.unet, pretrained_model_name_or_path=str(base), train_data_dir=config.train_data_dir,
        output_dir=config.output_dir / "unet", seed=config.seed), stop)


def export(pipeline_dir: Path, config: BaseConfig) -> Path:
    """Write what training/tiny ships: VAE, UNet and scheduler in fp16 without MiniLM, and their card.

    Of the tokens that MiniLM was given, the table of their names.
    """
    target = config.output_dir / "tiny"
    with appearing(target) as building:
        for name, kind in (("vae", AutoencoderKL), ("unet", UNet2DConditionModel)):
            kind.from_pretrained(pipeline_dir / name, torch_dtype=torch.float16).save_pretrained(building / name)
            settings = json.loads((building / name / "config.json").read_text(encoding="utf8"))
            settings.pop("_name_or_path", None)  # a folder of this machine is nobody else's business
            write_text(building / name / "config.json", json.dumps(settings, indent=2) + "\n")
        shutil.copytree(pipeline_dir / "scheduler", building / "scheduler")
        save_table(AutoTokenizer.from_pretrained(pipeline_dir / "tokenizer"), building)
        shutil.copy(pipeline_dir / "samples.png", building / "samples.png")
        write_text(building / "README.md", model_card.base_text(config.unet))
    print(f"the embedded base: {target}")
    return target
