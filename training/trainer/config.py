"""The trainer's settings: one frozen dataclass, from which the command line is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from common.device import choose_device, has_bf16
from common.settings import NOT_OF_RESULT, PRIVATE, as_json, check_ranges, require, setting
from dataset.shard import Shard
from generation.guidance import GUIDANCE_SCALE

EXAMPLE_PROMPTS = ("Buzz Aldrin", "Ferrari", "Full Moon", "Instagram", "Bible", "moon", "water", "tree")
MAX_BATCH = 2**16  # samples in a batch, and batches to an update: beyond what any device holds
MAX_WEIGHT = 1e6  # how much more often something is drawn: beyond it the rest is never seen
CAPTION_DROPOUT = 0.1  # probability that a sample has no caption, which guidance needs (arXiv 2207.12598, section 4.2)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run. Flags keep the names that diffusers' text-to-image script gave them."""

    # What is trained, on what, and where to
    pretrained_model_name_or_path: str = setting("tiny", private=True)
    """`tiny` (the embedded base), or a folder or hub id of a Stable Diffusion 1.x or 2.x pipeline."""
    revision: str | None = None
    """Branch, tag or commit of the hub repository."""
    train_data_dir: Path = setting(Path("data/kanji"), may_differ=True, private=True)
    """A folder of pictures with a metadata.jsonl (or .csv, .parquet) or with a .txt or .caption file beside each; its
    train/ is used where it has one."""
    image_column: str = "file_name"
    """The metadata column that names the picture."""
    caption_column: str | None = None
    """The column with the caption, or with a list of captions; by default `captions`, else `text`."""
    captions_from: Literal["metadata", "txt", "caption"] | None = None
    """Which captions of train_data_dir are meant, where it has several kinds: those of metadata.jsonl (or .csv,
    .parquet), or those in .txt or .caption files beside the pictures, a caption a line."""
    extra_data_dir: tuple[Path, ...] = setting((), may_differ=True, private=True)
    """Other imagefolders to mix in, such as self_training.py makes; their column `captions` or `text` is read."""
    held_out_prompts: Path | None = setting(None, may_differ=True, private=True)
    """A heldout_pairs.jsonl of another set, such as data/kanji's: rows with a caption that is one of its prompts are
    left out, so that the score on them stays one of what was never seen."""
    reward_model: Path | None = setting(None, may_differ=True, private=True, was="recogniser")
    """The folder of a recogniser of a seed of its own, train_recogniser.py's weights/: adds the reward loss, its
    reading of images as they are ended: own ones (of extra_data_dir) and those for captions of known components."""
    output_dir: Path = setting(Path("runs/tiny"), may_differ=True, private=True)
    """The run folder. The same command again resumes where it stopped."""
    cache_dir: Path = setting(Path("runs/cache"), may_differ=True, private=True, not_of_result=True)
    """Where encoded pictures and captions are kept; shared between runs."""
    cache_budget: float = setting(4.0, at_least=0, may_differ=True, not_of_result=True)
    """GB of the device's memory for encoded pictures and captions, 0 or more; beyond it they are read from mapped
    files."""

    # What a step is drawn from
    resolution: int = setting(128, at_least=8, at_most=4096, multiple_of=8)
    """Side of the training pictures in pixels, a multiple of 8, 4096 at most; pictures are scaled to it, never cropped
    or flipped."""
    stroke_tag_fraction: float = setting(0.5, at_least=0, at_most=1, was="stroke_tag_share")
    """Fraction of the captions that carry the stroke count (", 8 strokes"), 0 to 1, where the set has counts."""
    composed_fraction: float = setting(0.5, at_least=0, at_most=1, was="composed_share")
    """Fraction of composed characters among the samples, 0 to 1, where the set has them."""
    rare_component_exponent: float = setting(0.0, at_least=0, at_most=1, was="part_balance")
    """How much more often composed characters of rare components are drawn, 0 to 1: 0 not at all, 1 in proportion to
    their rarity."""
    single_component_fraction: float = setting(0.0, at_least=0, at_most=1, was="one_part_share")
    """Fraction of composed characters' captions with a stroke count that name one component alone ("horse, 14
    strokes"), 0 to 1: teaches to heed the count where the words leave it open."""
    component_caption_fraction: float = setting(0.0, at_least=0, at_most=1)
    """Fraction of the captions that name the components with tokens of their own ("boat 舟, water 水"), 0 to 1, half
    of them behind the words where these say something else, where the set knows components and their names; above 0
    the base gets these tokens."""
    extra_fraction: float = setting(0.2, above=0, below=1, was="extra_share")
    """Fraction of the other folders' pictures among the samples, above 0 and below 1; each of them as often as
    another."""
    reward_weight: float = setting(0.2, above=0, was="recogniser_weight")
    """Weight of the reward loss beside the diffusion loss, above 0."""
    frequent_kanji_weight: float = setting(3.0, at_least=1, at_most=MAX_WEIGHT, was="common_weight")
    """How many times as often a character of everyday use is drawn as a rare one; 1 draws all characters alike."""
    timestep_bias_strategy: Literal["none", "earlier", "later", "range"] = "none"
    """Draw some timesteps more often: `later`, the noisier ones, where the caption decides what appears; `range`, those
    from timestep_bias_begin to timestep_bias_end."""
    timestep_bias_portion: float = setting(0.6, at_least=0, at_most=1)
    """The fraction of the timesteps that `earlier` and `later` favour, 0 to 1."""
    timestep_bias_begin: int = setting(0, at_least=0)
    """The first timestep that `range` favours."""
    timestep_bias_end: int = setting(1000, at_least=1)
    """The timestep before which `range` ends."""
    timestep_bias_multiplier: float = setting(4.0, above=0, at_most=MAX_WEIGHT)
    """How many times as often a favoured timestep is drawn as another, above 0."""
    max_train_samples: int | None = setting(None, at_least=1)
    """Use only the first so many rows; for trials."""
    seed: int = setting(0, at_least=0)
    """Everything random in step n is a function of (seed, n)."""

    # Optimization
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for matrices and kernels with AdamW for the rest: learns more from a picture. For a whole UNet."""
    train_batch_size: int = setting(64, at_least=1, at_most=MAX_BATCH)
    """Samples that a device holds at once."""
    gradient_accumulation_steps: int = setting(1, at_least=1, at_most=MAX_BATCH)
    """Batches to an update. Several processes take them side by side, in smaller ones where these are too few: an
    update learns from train_batch_size times gradient_accumulation_steps samples however many GPUs there are."""
    max_train_steps: int = setting(400, at_least=1, may_differ=True)
    """Updates in all, unless num_train_epochs is given."""
    num_train_epochs: int | None = setting(None, at_least=1, may_differ=True)
    """Passes over the rows; sets max_train_steps."""
    learning_rate: float = setting(1e-4, above=0)
    """The peak; the same for any number of processes, as an update learns from as many samples."""
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    """How the rate falls after the warm-up (`constant` has none)."""
    lr_warmup_steps: int = setting(50, at_least=0)
    """Updates over which the rate rises from zero."""
    lr_cooldown_steps: int = setting(0, at_least=0, may_differ=True)
    """Last updates of a constant rate over which it falls to zero; until they begin, their number and max_train_steps
    may be changed."""
    adam_beta1: float = setting(0.9, at_least=0, below=1)
    """Decay of AdamW's first moment, 0 and above, below 1."""
    adam_beta2: float = setting(0.99, at_least=0, below=1)
    """Decay of AdamW's second moment, 0 and above, below 1."""
    adam_weight_decay: float = setting(0.01, at_least=0)
    """Decoupled weight decay, Muon's too."""
    adam_epsilon: float = setting(1e-8, above=0)
    """AdamW's floor of the denominator."""
    max_grad_norm: float = setting(1.0, above=0)
    """Gradients are clipped to this norm."""
    use_ema: bool = True
    """Keep an exponential moving average of the weights and sample from it."""
    ema_decay: float = setting(0.999, at_least=0, at_most=1)
    """The average's decay an update, 0 to 1; it warms up from zero."""
    snr_gamma: float | None = setting(5.0, above=0)
    """Min-SNR loss weighting (arXiv 2303.09556); None turns it off."""
    noise_offset: float = setting(0.0, at_least=0)
    """Scale of a per-channel constant added to the noise."""
    lora_rank: int | None = setting(None, at_least=1, at_most=4096)
    """Train a LoRA of this rank on the attention instead of the whole UNet."""

    # The machine
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Precision of the UNet's arithmetic; the trained weights stay in fp32. `auto`: bf16, and where there are no
    instructions for it fp16 on a GPU, `no` (fp32) on a CPU and under Muon."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    compile: bool = False
    """torch.compile the UNet: a minute or more at the start, faster steps after it; refused where gradients differ."""
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = "default"
    """torch.compile's mode. The other two put the step into CUDA graphs, in whose memory gradients do not add up: for
    one batch an update. max-autotune also tries several kernels, which takes minutes more."""
    half_weights: bool = False
    """Cast the weights to the precision of the arithmetic once an update, and not in every pass: the same results for 2
    bytes a weight more. For a whole UNet on one GPU; in fp32 there is nothing to cast."""
    compress_gradients: Literal["no", "fp16", "bf16"] = "no"
    """Share gradients between processes in half the bytes: several no longer learn what one does to rounding. bf16 is
    for GPUs alone and keeps the small gradients that fp16 loses."""
    deterministic: bool = False
    """On CUDA, use only deterministic algorithms: bit-exact runs on the same machine, somewhat slower."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a CUDA GPU where there is one."""

    # Checkpoints, samples and reports
    checkpointing_steps: int = setting(200, at_least=1, may_differ=True)
    """Updates between checkpoints."""
    checkpoints_total_limit: int | None = setting(2, at_least=1, may_differ=True)
    """How many checkpoints to keep; None keeps all."""
    resume_from_checkpoint: str = setting("latest", may_differ=True, not_of_result=True)
    """`latest`, or the name of a checkpoint in the run folder, which must be whole."""
    validation_prompts: tuple[str, ...] = setting(EXAMPLE_PROMPTS, may_differ=True)
    """Prompts of the sample grid, drawn with fixed seeds."""
    validation_steps: int = setting(200, at_least=0, may_differ=True)
    """Updates between sample grids; 0 draws only the last."""
    score_samples: bool = setting(False, may_differ=True, not_of_result=True)
    """Have the judge read the sample grids: how much is well-formed, and how many of the components are found that
    prompts spell (`boat 舟, water 水`), as score/... in metrics.jsonl. For kanji."""
    num_inference_steps: int = setting(20, at_least=1, at_most=1000, may_differ=True)
    """Denoising steps of a sample, no more than the timesteps that a base is trained at."""
    guidance_scale: float = setting(GUIDANCE_SCALE, at_least=0, may_differ=True)
    """Classifier-free guidance of a sample; 1 turns it off."""
    logging_steps: int = setting(10, at_least=1, may_differ=True, not_of_result=True)
    """Updates between lines of metrics.jsonl; the only time the loop waits for the device."""
    report_to: Literal["tensorboard", "wandb", "all", "none"] = setting(
        "tensorboard", may_differ=True, not_of_result=True)
    """Where metrics and sample grids go beside metrics.jsonl: TensorBoard, Weights & Biases (pip install wandb), or
    both."""
    tracker_project_name: str = setting("text2image-fine-tune", may_differ=True, not_of_result=True)
    """The project at Weights & Biases."""
    push_to_hub: bool = setting(False, may_differ=True)
    """Send pipeline, card, grid and metrics to the hub at the end (log in first: hf auth login, or HF_TOKEN)."""
    push_dataset: bool = setting(False, may_differ=True)
    """Send the dataset folder with its card to the hub at the end, as <hub_model_id>-dataset."""
    hub_model_id: str | None = setting(None, may_differ=True)
    """The hub repository to push to; by default the run folder's name."""
    dry_run: bool = setting(False, may_differ=True, not_of_result=True)
    """Print the resolved settings and stop."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)
        require(self.timestep_bias_begin < self.timestep_bias_end, "timestep_bias_end", self.timestep_bias_end,
                f"above --timestep_bias_begin {self.timestep_bias_begin}")
        for name in ("timestep_bias_begin", "timestep_bias_end"):
            value = getattr(self, name)
            require(self.timestep_bias_strategy == "range" or value == getattr(TrainConfig, name), name, value,
                    f"left out under --timestep_bias_strategy {self.timestep_bias_strategy}; it is for range")
        require(self.optimizer != "muon" or (self.lora_rank is None and self.mixed_precision != "fp16"), "optimizer",
                self.optimizer, "adamw for a LoRA (--lora_rank) and under --mixed_precision fp16")
        require(self.compile_mode == "default" or (self.compile and self.gradient_accumulation_steps == 1),
                "compile_mode", self.compile_mode,
                "default without --compile and above --gradient_accumulation_steps 1")
        require(not self.half_weights or self.lora_rank is None, "half_weights", self.half_weights,
                "left out for a LoRA (--lora_rank), whose base is in half precision anyway")
        require(bool(self.validation_prompts), "validation_prompts", "without a value", "followed by prompts")
        require(all(prompt.strip() for prompt in self.validation_prompts), "validation_prompts",
                list(self.validation_prompts), "prompts with words in them")


def public_settings(config: TrainConfig) -> dict[str, Any]:
    """What a card may tell: the settings as JSON holds them, without those that are paths of this machine."""
    return as_json(config, without=PRIVATE)


def result_settings(config: TrainConfig) -> dict[str, Any]:
    """What makes the result, as JSON holds it: a run that is finished with these is finished."""
    settings = as_json(config, without=NOT_OF_RESULT)
    if config.num_train_epochs is not None:
        del settings["max_train_steps"]  # which is worked out from it once the rows are counted
    return settings


def samples_per_update(config: TrainConfig, processes: int) -> int:
    """How many samples one update of all processes learns from."""
    return processes * Shard.of(config.train_batch_size, config.gradient_accumulation_steps, processes).size


def with_epochs(config: TrainConfig, rows: int, processes: int) -> TrainConfig:
    """The same settings with `max_train_steps` worked out from `num_train_epochs`, where that is given."""
    if config.num_train_epochs is None:
        return config
    size = samples_per_update(config, processes)
    return replace(config, max_train_steps=max(1, -(-config.num_train_epochs * rows // size)))


def with_precision(config: TrainConfig) -> TrainConfig:
    """The settings with the precision that `auto` stands for here, so that a run keeps it wherever it is resumed.

    Raises UserError where a GPU is asked for and not there.
    """
    if config.mixed_precision != "auto":
        return config
    device = choose_device(config.device)
    if has_bf16(device):
        return replace(config, mixed_precision="bf16")
    takes_fp16 = device.type == "cuda" and config.optimizer != "muon"
    return replace(config, mixed_precision="fp16" if takes_fp16 else "no")
