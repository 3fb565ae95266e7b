"""Small Stable Diffusion pipelines of random weights, small captioned sets, and trainers that can be killed.

A trainer is forked from the test's process, which has the libraries loaded already, so that a kill costs a fraction of
a second and not ten.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from PIL import Image, ImageDraw

import trainer.run  # noqa: F401 - the command loads it late; here it is there before a process is forked
from common.quiet import known_noise_off
from common.settings import as_flags
from dataset.batches import Batch
from trainer.config import TrainConfig
from trainer.presets import parse_train_config

with known_noise_off():
    from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WORDS = ("moon", "water", "tree", "fire", "gold", "eat", "fish", "person", "king", "horse", "wind", "love")


def tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that knows letters and digits, 77 tokens."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=77)


def small_unet(kind: str = "sd1", width: int = 32) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, attention_head_dim=4 if kind == "sd1" else (2, 4),
        use_linear_projection=kind == "sd2", norm_num_groups=8)


def save_base(folder: Path, kind: str = "sd1", channels: int = 3) -> Path:
    """Save a random pipeline of 32 px pictures: `sd1` (epsilon, PNDM) or `sd2` (v, wider text, linear projections)."""
    torch.manual_seed(0)
    width = 32 if kind == "sd1" else 48
    text_encoder = CLIPTextModel(CLIPTextConfig(
        vocab_size=76, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=77, hidden_act="quick_gelu" if kind == "sd1" else "gelu", bos_token_id=74,
        eos_token_id=75))
    unet = small_unet(kind, width)
    vae = AutoencoderKL(
        in_channels=channels, out_channels=channels, latent_channels=4, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, sample_size=32)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    scheduler = (PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, **schedule) if kind == "sd1" else
                 DDIMScheduler(prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, **schedule))
    with known_noise_off():
        StableDiffusionPipeline(
            vae=vae, unet=unet, text_encoder=text_encoder, tokenizer=tokenizer(), scheduler=scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False).save_pretrained(folder)
    return folder


def save_dataset(folder: Path, count: int = 12, side: int = 32) -> Path:
    """Save `count` grey pictures with one or two captions each, half of them composed, as the kanji set has them."""
    train = folder / "train"
    train.mkdir(parents=True)
    lines = []
    for number in range(count):
        picture = Image.new("L", (side, side), "white")
        ImageDraw.Draw(picture).line((2, number + 2, side - 3, side - number - 3), fill="black", width=2)
        picture.save(train / f"{number:05x}.png")
        word = WORDS[number % len(WORDS)]
        captions = [word] if number % 3 else [word, f"{word} {WORDS[(number + 5) % len(WORDS)]}"]
        lines.append({"file_name": f"{number:05x}.png", "text": word, "captions": captions, "strokes": number % 9 + 1,
                      "grade": 1 if number % 4 == 0 else None, "kind": "composed" if number % 2 else "real"})
    (train / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def small_config(base: Path, data: Path, output: Path, **changes) -> TrainConfig:
    """Settings of a run that takes seconds: 6 steps of 4 pictures at 32 px, fp32, two prompts."""
    settings = {
        "pretrained_model_name_or_path": str(base), "train_data_dir": data, "output_dir": output,
        "cache_dir": output.parent / "cache", "resolution": 32, "train_batch_size": 4, "max_train_steps": 6,
        "learning_rate": 1e-3, "lr_warmup_steps": 2, "mixed_precision": "no", "checkpointing_steps": 100,
        "validation_prompts": ("moon", "water tree"), "validation_steps": 0, "num_inference_steps": 2,
        "logging_steps": 1, "report_to": "none", "device": "cpu"}
    return replace(TrainConfig(), **{**settings, **changes})


def batch_of(latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: torch.Tensor,
             negative: Sequence[int] = (), rows: Sequence[int] = (), strokes: Sequence[int] = ()) -> Batch:
    """A batch on the CPU; where it has `rows`, the reward mask is its first samples, whose `strokes` are else 0."""
    rows, negative = torch.tensor(rows, dtype=torch.int64), torch.tensor(negative, dtype=torch.int64)
    asked = torch.tensor(strokes) if len(strokes) else torch.zeros_like(rows)
    return Batch(latents, noise, timesteps, prompt_embeds, negative, torch.arange(len(rows)), rows, asked,
                 torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Ended:
    """How a forked trainer ended: its exit status, or minus the signal that killed it, and what it printed."""

    status: int
    output: str


def forked(work: Callable[[], object], output: Path, timeout_s: int = 600) -> Ended:
    """Run `work` in a forked process and wait for it. An uncaught exception ends it with status 70."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_the_child(work, output, timeout_s)
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), output.read_text(errors="replace"))


@functools.cache
def warm_up() -> None:
    """Do once what every forked trainer would do first: load what is loaded late, and make the kernels of a step."""
    parse_train_config([], description=None)
    if torch.cuda.is_available():
        return  # a backward pass would start threads, after which no process may be forked
    with torch.random.fork_rng(devices=[]):
        predicted = small_unet()(torch.ones(4, 4, 16, 16), torch.ones(4), torch.ones(4, 77, 32)).sample
        predicted.sum().backward()


def run_processes(configs: Sequence[TrainConfig], folder: Path, timeout_s: int = 600,
                  before: Callable[[int], object] = lambda rank: None) -> list[Ended]:
    """The trainer's main() in several processes at once, joined by gloo, each under settings of its own; forked.

    `before` is given a process's rank and may lay a trap in it. Their output goes to folder/log-RANK.
    """
    import train_text_to_image

    warm_up()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def work(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(len(configs)), MASTER_PORT=str(port),
                          LOCAL_WORLD_SIZE=str(len(configs)), MASTER_ADDR="localhost", OMP_NUM_THREADS="1")
        before(rank)
        sys.argv = ["train_text_to_image.py", *as_flags(configs[rank])]
        sys.exit(train_text_to_image.main())

    sys.stdout.flush()
    sys.stderr.flush()
    folder.mkdir(parents=True, exist_ok=True)
    children = []
    for rank in range(len(configs)):
        child = os.fork()
        if child == 0:
            _be_the_child(partial(work, rank), folder / f"log-{rank}", timeout_s)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [Ended(status, (folder / f"log-{rank}").read_text(errors="replace"))
            for rank, status in enumerate(statuses)]


def _be_the_child(work: Callable[[], object], output: Path, timeout_s: int) -> None:
    status = 70
    try:
        with output.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.alarm(timeout_s)  # a trainer that hangs fails the test
        torch.set_num_threads(1)
        AcceleratorState._reset_state(reset_partial_state=True)  # a test may have made one in the parent
        work()
        status = 0
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # whatever happens, or there would be two of the test's process


def run_main(config: TrainConfig, output: Path, before: Callable[[], object] = lambda: None,
             timeout_s: int = 600) -> Ended:
    """The trainer's own main() under these settings, forked; `before` may lay a trap in it."""
    import train_text_to_image

    warm_up()

    def work() -> None:
        before()
        sys.argv = ["train_text_to_image.py", *as_flags(config)]
        sys.exit(train_text_to_image.main())

    return forked(work, output, timeout_s)


def before(owner: object, name: str, number: int, act: Callable[[], object]) -> Callable[[], None]:
    """A trap: act just before the call of that number of owner.name."""
    def lay() -> None:
        function, calls = getattr(owner, name), 0

        def trapped(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == number:
                act()
            return function(*arguments, **named)

        setattr(owner, name, trapped)

    return lay


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def metrics(run: Path) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same_tensors(one: Path, other: Path, names: Sequence[str] = ("unet", "optimizer", "ema")) -> bool:
    """Whether two checkpoints hold the same bits."""
    return all((one / f"{name}.safetensors").read_bytes() == (other / f"{name}.safetensors").read_bytes()
               for name in names)
