"""The trainer's settings: one frozen dataclass, from which the command line is made, and one table of presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from generation.sampling import GUIDANCE_SCALE

EXAMPLE_PROMPTS = ("Buzz Aldrin", "Ferrari", "Full Moon", "Instagram", "Bible", "moon", "water", "tree")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run. Flags keep the names that diffusers' text-to-image script gave them."""

    # What is trained, on what, and where to
    pretrained_model_name_or_path: str = "tiny"
    """`tiny` (the embedded base), or a folder or hub id of a Stable Diffusion 1.x or 2.x pipeline."""
    revision: str | None = None
    """Branch, tag or commit of the hub repository."""
    train_data_dir: Path = Path("data/kanji")
    """An imagefolder with metadata.jsonl; its train/ is used where it has one."""
    image_column: str = "file_name"
    """The metadata column that names the picture."""
    caption_column: str | None = None
    """The column with the caption, or with a list of captions; by default `captions`, else `text`."""
    extra_data_dir: tuple[Path, ...] = ()
    """Other imagefolders to mix in, such as self_training.py makes; their column `captions` or `text` is read."""
    held_out_prompts: Path | None = None
    """A heldout_pairs.jsonl of another set, such as data/kanji's: rows with a caption that is one of its prompts are
    left out, so that the score on them stays one of what was never seen."""
    reward_model: Path | None = None
    """The folder of a recogniser of a seed of its own, train_recogniser.py's weights/: lets it look at drawings as they
    are ended, own ones (of extra_data_dir) and those for captions of known components, and trains on its gradient."""
    output_dir: Path = Path("runs/tiny")
    """The run folder. The same command again resumes where it stopped."""
    cache_dir: Path = Path("runs/cache")
    """Where encoded pictures and captions are kept; shared between runs."""
    cache_budget: float = 4.0
    """GB of the device's memory for encoded pictures and captions; beyond it they are read from mapped files."""

    # How it is drawn
    resolution: int = 128
    """Side of the training pictures in pixels, a multiple of 8; pictures are scaled to it, never cropped or flipped."""
    caption_dropout: float = 0.1
    """Share of the samples trained without a caption, 0 to 1; what guidance needs."""
    stroke_tag_fraction: float = 0.5
    """Share of the captions that carry the stroke count (", 8 strokes"), 0 to 1, where the set has counts."""
    composed_fraction: float = 0.5
    """Share of composed characters in what is drawn, 0 to 1, where the set has them."""
    rare_component_exponent: float = 0.0
    """How much more often composed characters of rare components are drawn: 0 not, 1 in proportion to their rarity."""
    single_component_fraction: float = 0.0
    """Share of composed characters' captions with a stroke count that name one component alone ("horse, 14 strokes"), 0
    to 1: teaches to heed the count where the words leave it open."""
    extra_fraction: float = 0.2
    """Share of the other folders' pictures in what is drawn, above 0 and below 1; each of them as often as another."""
    reward_weight: float = 0.2
    """Weight of what the recogniser thinks beside the diffusion loss."""
    frequent_kanji_weight: float = 3.0
    """How many times as often a character of everyday use is drawn as a rare one; 1 turns the whole lean off."""
    timestep_bias_strategy: Literal["none", "earlier", "later", "range"] = "none"
    """Draw some timesteps more often: `later`, the noisier ones, where the caption decides what appears; `range`, those
    from timestep_bias_begin to timestep_bias_end."""
    timestep_bias_portion: float = 0.6
    """The share of the timesteps that `earlier` and `later` favour, 0 to 1."""
    timestep_bias_begin: int = 0
    """The first timestep that `range` favours."""
    timestep_bias_end: int = 1000
    """The timestep before which `range` ends."""
    timestep_bias_multiplier: float = 4.0
    """How many times as often a favoured timestep is drawn as another."""
    max_train_samples: int | None = None
    """Use only the first so many rows; for trials."""
    seed: int = 0
    """Every draw of step n is a function of (seed, n)."""

    # Optimization
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for matrices and kernels with AdamW for the rest: learns more from a picture. For a whole UNet."""
    train_batch_size: int = 64
    """Pictures a process sees at once."""
    gradient_accumulation_steps: int = 1
    """Batches to an update."""
    max_train_steps: int = 400
    """Updates in all, unless num_train_epochs is given."""
    num_train_epochs: int | None = None
    """Passes over the rows; sets max_train_steps."""
    learning_rate: float = 1e-4
    """The peak; not scaled by the number of processes."""
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    """How the rate falls after the warm-up (`constant` has none)."""
    lr_warmup_steps: int = 50
    """Updates over which the rate rises from zero."""
    lr_cooldown_steps: int = 0
    """Last updates of a constant rate over which it falls to zero; until they begin, max_train_steps may be raised."""
    adam_beta1: float = 0.9
    """Decay of AdamW's first moment."""
    adam_beta2: float = 0.99
    """Decay of AdamW's second moment."""
    adam_weight_decay: float = 0.01
    """Decoupled weight decay, Muon's too."""
    adam_epsilon: float = 1e-8
    """AdamW's floor of the denominator."""
    muon_momentum: float = 0.95
    """Decay of Muon's momentum, below 1."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    use_ema: bool = True
    """Keep an exponential moving average of the weights and sample from it."""
    ema_decay: float = 0.999
    """The average's decay an update; it warms up from zero."""
    snr_gamma: float | None = 5.0
    """Min-SNR loss weighting (arXiv 2303.09556); None turns it off."""
    noise_offset: float = 0.0
    """Scale of a per-channel constant added to the noise."""
    lora_rank: int | None = None
    """Train a LoRA of this rank on the attention instead of the whole UNet."""

    # The machine
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Precision of the UNet's arithmetic; the trained weights stay in fp32. `auto`: bf16, and `no` (fp32) on a CPU that
    has no instructions for it."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    compile: bool = False
    """torch.compile the UNet: a minute or more at the start, faster steps after it; refused where gradients differ."""
    deterministic: bool = False
    """On CUDA, use only deterministic algorithms: bit-exact runs on the same machine, somewhat slower."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a CUDA GPU where there is one."""

    # Checkpoints, samples and reports
    checkpointing_steps: int = 200
    """Updates between checkpoints."""
    checkpoints_total_limit: int | None = 2
    """How many checkpoints to keep; None keeps all."""
    resume_from_checkpoint: str = "latest"
    """`latest`, or the name of a checkpoint in the run folder, which must be whole."""
    validation_prompts: tuple[str, ...] = EXAMPLE_PROMPTS
    """Prompts of the sample grid, drawn with fixed seeds."""
    validation_steps: int = 200
    """Updates between sample grids; 0 draws only the last."""
    num_inference_steps: int = 20
    """Denoising steps of a sample."""
    guidance_scale: float = GUIDANCE_SCALE
    """Classifier-free guidance of a sample; 1 turns it off."""
    logging_steps: int = 10
    """Updates between lines of metrics.jsonl; the only time the loop waits for the device."""
    report_to: Literal["tensorboard", "none"] = "tensorboard"
    """Where metrics go beside metrics.jsonl."""
    save_precision: Literal["fp32", "fp16"] = "fp16"
    """Precision of the pipeline folder at the end."""
    push_to_hub: bool = False
    """Send pipeline, card, grid and metrics to the hub at the end (log in first: hf auth login, or HF_TOKEN)."""
    push_dataset: bool = False
    """Send the dataset folder with its card to the hub at the end, as <hub_model_id>-dataset."""
    hub_model_id: str | None = None
    """The hub repository to push to; by default the run folder's name."""
    dry_run: bool = False
    """Print the resolved settings and stop."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        for name in ("train_batch_size", "gradient_accumulation_steps", "max_train_steps", "checkpointing_steps",
                     "num_inference_steps", "logging_steps", "frequent_kanji_weight"):
            _require(1 <= getattr(self, name) < math.inf, name, getattr(self, name), "at least 1")
        for name in ("caption_dropout", "stroke_tag_fraction", "composed_fraction", "rare_component_exponent", "single_component_fraction",
                     "timestep_bias_portion", "ema_decay", "adam_beta1", "adam_beta2", "muon_momentum"):
            _require(0.0 <= getattr(self, name) <= 1.0, name, getattr(self, name), "between 0 and 1")
        for name in ("learning_rate", "timestep_bias_multiplier", "max_grad_norm", "adam_epsilon",
                     "reward_weight"):
            _require(0.0 < getattr(self, name) < math.inf, name, getattr(self, name), "above 0")
        for name in ("lr_warmup_steps", "lr_cooldown_steps", "validation_steps", "cache_budget", "noise_offset",
                     "adam_weight_decay", "guidance_scale", "timestep_bias_begin", "seed"):
            _require(0.0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more")
        for name in ("num_train_epochs", "snr_gamma", "lora_rank", "checkpoints_total_limit", "max_train_samples"):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "above 0")
        _require(self.timestep_bias_begin < self.timestep_bias_end, "timestep_bias_end", self.timestep_bias_end,
                 f"above --timestep_bias_begin {self.timestep_bias_begin}")
        _require(0.0 < self.extra_fraction < 1.0, "extra_fraction", self.extra_fraction, "above 0 and below 1")
        _require(self.optimizer != "muon" or (self.lora_rank is None and self.mixed_precision != "fp16"), "optimizer",
                 self.optimizer, "adamw for a LoRA (--lora_rank) and under --mixed_precision fp16")
        _require(self.resolution > 0 and self.resolution % 8 == 0, "resolution", self.resolution, "a multiple of 8")
        _require(all(prompt.strip() for prompt in self.validation_prompts), "validation_prompts",
                 list(self.validation_prompts), "prompts with words in them")


# Settings that may differ when a run is resumed: they change what is kept and shown, not what is learned.
FREE_AT_RESUME = frozenset({
    "output_dir", "cache_dir", "cache_budget", "max_train_steps", "num_train_epochs", "checkpointing_steps",
    "checkpoints_total_limit", "resume_from_checkpoint", "validation_prompts", "validation_steps",
    "num_inference_steps", "guidance_scale", "logging_steps", "report_to", "save_precision", "push_to_hub",
    "push_dataset", "hub_model_id", "dry_run", "train_data_dir", "extra_data_dir",
    "reward_model", "held_out_prompts",
})


def as_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON holds them: paths as strings, tuples as lists."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}


def with_epochs(config: TrainConfig, rows: int, processes: int) -> TrainConfig:
    """The same settings with `max_train_steps` worked out from `num_train_epochs`, where that is given."""
    if config.num_train_epochs is None:
        return config
    size = config.train_batch_size * config.gradient_accumulation_steps * processes
    return replace(config, max_train_steps=max(1, -(-config.num_train_epochs * rows // size)))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise ValueError(f"--{name} {value}: must be {wanted}")
