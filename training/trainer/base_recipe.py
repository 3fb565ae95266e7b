"""The embedded base's training: its autoencoder, then its UNet in three phases, then what is shipped.

The phases are fields of BaseConfig, in their order; each is a run of the trainer that serves every base, begun from
what the one before it left. What differs between them stands in one table, PHASES.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.files import appearing, write_text
from common.quiet import known_noise_off
from common.settings import PRIVATE, as_flags, check_ranges, setting
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from dataset.rows import component_names
from models.component_tokens import save_table
from models.tiny import save_untrained
from recogniser.config import RecogniserConfig
from recogniser.report import report
from recogniser.splits import read_splits
from recogniser.training import train as train_recogniser
from trainer import model_card
from trainer.autoencoder import VaeConfig, train_on_folder
from trainer.base_origin import origin_of
from trainer.config import EXAMPLE_PROMPTS, TrainConfig
from trainer.presets import PRESETS
from trainer.run import train
from trainer.training_log import write_training_log

with known_noise_off():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import AutoTokenizer


@dataclass(frozen=True)
class Phase:
    """What a phase of the UNet's training does that the `tiny` preset does not."""

    settings: dict[str, Any]
    """Of TrainConfig, those in which the phase differs from what all have (_SHARED)."""
    rewarded: bool = False
    """Whether the reward model's gradient is added to the loss."""


# Plans of names on which the planner is tuned. No pair of them is the score's, or in launch_training.sh's data/kanji; a
# set of 120,000 composed characters has most of them, so that their score there is one of what was seen.
SCORED_PROMPTS = (
    "⿰ bow 弓, woman 女", "⿰ mountain 山, lineage 系", "⿰ dog 犬, deer 鹿", "⿰ boat 舟, wind 風",
    "⿰ water 水, city 邑", "⿰ ear 耳, mouth 口", "⿱ hair 髟, towel 巾", "⿱ roof 宀, eye 目",
    "⿰ skeleton 骨, leg 足", "⿰ say 言, brush 聿", "⿰ fire 火, gate 門", "⿱ rice 米, eat 食",
    "⿰ fish 魚, sword 刀", "⿰ horse 馬, run 走", "⿰ car 車, thread 糸", "⿰ meat 肉, sword 刀")
# Constant rates until a cooldown, so that a phase can be prolonged. `words` has none: the moving average that it hands
# on is as good as cooled, and the next phase would heat it again.
_SHARED = {"lr_scheduler": "constant_with_warmup", "ema_decay": 0.999, "component_caption_fraction": 0.65,
           "validation_prompts": (*EXAMPLE_PROMPTS, *SCORED_PROMPTS), "score_samples": True}
PHASES = {
    # Words: what kanji mean, how they are built. Muon, at a higher rate than fine-tuning's; noisy timesteps, where the
    # caption decides.
    "words": Phase({
        "optimizer": "muon", "learning_rate": 1e-3, "max_train_steps": 4_500, "train_batch_size": 96,
        "lr_warmup_steps": 100, "composed_fraction": 0.6,
        "component_caption_fraction": 0.5, "checkpointing_steps": 250, "validation_steps": 500}),
    # Components: many pairs of them, and the timesteps in which they are lost.
    "components": Phase({
        "optimizer": "muon", "learning_rate": 5e-4, "max_train_steps": 2_000, "train_batch_size": 96,
        "lr_warmup_steps": 50, "lr_cooldown_steps": 600, "composed_fraction": 0.7, "timestep_bias_strategy": "range",
        "timestep_bias_begin": 300, "timestep_bias_end": 950, "validation_steps": 250}),
    # Reward: well-formed to a recogniser that scores nothing.
    "reward": Phase({
        "learning_rate": 8e-5, "max_train_steps": 70, "train_batch_size": 48, "lr_warmup_steps": 15,
        "lr_cooldown_steps": 25, "ema_decay": 0.95, "composed_fraction": 0.7, "timestep_bias_strategy": "none",
        "reward_weight": 0.3, "checkpointing_steps": 20, "validation_steps": 20}, rewarded=True),
}  # fmt: skip


def _settings(name: str) -> TrainConfig:
    return replace(PRESETS["tiny"], **{**_SHARED, **PHASES[name].settings})


def _reward_model_settings() -> RecogniserConfig:
    """Those of the judge with a seed of its own and half its steps."""
    return RecogniserConfig(seed=2, steps=3_000, vae_reconstructed=1_200)


@dataclass(frozen=True)
class BaseConfig:
    """Settings of the embedded base's training. Data, run folders, bases and seed of the stages are set from here."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder, with composed characters: the more of them, the better."""
    output_dir: Path = Path("runs/tiny-base")
    """Where all stages keep their runs; one that is complete is not run again."""
    start_from: str | None = None
    """A model to begin the phase `components` from, in place of training an autoencoder and the phase `words`."""
    seed: int = setting(0, at_least=0)
    """Seed of the first weights and of everything random in a step."""
    vae: VaeConfig = field(default_factory=VaeConfig)
    """The autoencoder's settings."""
    reward_model: RecogniserConfig = field(default_factory=_reward_model_settings)
    """The reward model's settings."""
    words: TrainConfig = field(default_factory=lambda: _settings("words"))
    """The settings of the phase in which the UNet learns words, from scratch."""
    components: TrainConfig = field(default_factory=lambda: _settings("components"))
    """The settings of the phase that practises components."""
    reward: TrainConfig = field(default_factory=lambda: _settings("reward"))
    """The settings of the phase that follows the reward model's gradient."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


def train_base(config: BaseConfig, stop: StopSignals) -> Path:
    """Train what is not complete yet, stage by stage, and write what is shipped; returns its folder.

    A set whose rows name no components has the phase `words` alone, in words. Raises Stopped, with what was learned
    saved, and UserError where a stage cannot be run.
    """
    names = list(PHASES)
    if not component_names(read_dataset(config.train_data_dir)):
        if config.start_from is not None:
            raise UserError(f"--start_from {config.start_from}: the phases after `words` learn components, and no row "
                            f"of {config.train_data_dir} has components that all have a meaning; leave it out")
        print(f"{config.train_data_dir} names no components: the UNet is trained in the phase `words` alone")
        prompts = tuple(one for one in config.words.validation_prompts if one not in SCORED_PROMPTS) or EXAMPLE_PROMPTS
        words = replace(config.words, component_caption_fraction=0.0, validation_prompts=prompts, score_samples=False)
        config, names = replace(config, words=words), ["words"]
    model = str(autoencoder_stage(config, stop)) if config.start_from is None else config.start_from
    for name in names if config.start_from is None else names[1:]:
        reward_model = reward_model_stage(config, model, stop) if PHASES[name].rewarded else None
        model = str(unet_phase(config, name, model, reward_model, stop))
    return export(Path(model), config, names)


def autoencoder_stage(config: BaseConfig, stop: StopSignals) -> Path:
    """Train the autoencoder and lay an untrained UNet beside it: the base that the first phase starts from."""
    base = config.output_dir / "base"
    if (base / "scheduler").is_dir():
        return base
    vae = train_on_folder(config.train_data_dir, config.output_dir / "vae", config.vae, config.seed, stop)
    with appearing(base) as building:
        vae.save_pretrained(building / "vae")
        save_untrained(building, config.seed)
    return base


def reward_model_stage(config: BaseConfig, model: str, stop: StopSignals) -> Path:
    """Train the reward model, a recogniser that scores nothing, on what `model`'s autoencoder draws too."""
    output = config.output_dir / "reward-model"
    if not (output / "weights").is_dir():
        vae = Path(model) / "vae"
        settings = replace(config.reward_model, train_data_dir=config.train_data_dir, output_dir=output,
                           vae=vae if vae.is_dir() else config.reward_model.vae)
        splits = read_splits(config.train_data_dir)
        report(*train_recogniser(splits, settings, stop), settings, splits)
    return output / "weights"


def unet_phase(config: BaseConfig, name: str, model: str, reward_model: Path | None, stop: StopSignals) -> Path:
    """Run a phase from `model`; returns the pipeline folder of its end."""
    return train(replace(
        getattr(config, name), pretrained_model_name_or_path=model, train_data_dir=config.train_data_dir,
        output_dir=config.output_dir / name, seed=config.seed, reward_model=reward_model), stop)


def export(pipeline_dir: Path, config: BaseConfig, names: Sequence[str] = tuple(PHASES)) -> Path:
    """Write what training/tiny ships: VAE, UNet and scheduler in fp16 without MiniLM, and their card.

    Of the tokens that MiniLM was given, the table of their names. names: of the phases that card and log tell of.
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
        runs = {name: config.output_dir / name for name in names}
        write_training_log(building, runs)
        origin = origin_of(building, command_of(config), config.train_data_dir, runs)
        write_text(building / "README.md", model_card.base_text(phases(config, names), origin))
    print(f"the embedded base: {target}")
    return target


def command_of(config: BaseConfig) -> str:
    """What trains as these settings do, without what is of this machine alone."""
    public = replace(config, output_dir=BaseConfig.output_dir,
                     train_data_dir=Path(model_card.local_name(config.train_data_dir)))
    return shlex.join(["python", "training/train_base.py", *as_flags(public, without=PRIVATE)])


def phases(config: BaseConfig, names: Sequence[str] = tuple(PHASES)) -> dict[str, TrainConfig]:
    """The settings of phases by name, in their order."""
    return {name: getattr(config, name) for name in names}
