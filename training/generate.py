"""Draw new characters from English words.

    python training/generate.py "Buzz Aldrin" Ferrari --output pictures

Writes a PNG for each picture, a JSON beside it (prompt, seed, settings, hash of the model) and all of them as one
captioned grid, collated_examples.png. Works at once on the embedded base; `--model runs/sd-nano` takes a run, and any
Stable Diffusion pipeline folder or hub id will do. Picture k of a prompt has seed `--seed` + k, whatever else is drawn
beside it; its noise comes from that seed and the words, so that two prompts never begin alike. `--best_of 8` draws
eight for each picture, the first of which is the one that would be drawn without it, and keeps what the recogniser
finds best formed and nearest to `--strokes`, with its reading. `--svg` adds the drawing as vector paths.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch_environment  # noqa: F401 - before torch

# isort: split

import torch
import tyro
from PIL import Image
from tqdm import tqdm

from bases import BaseError, load_pipeline, module_hash
from cache import encode_prompts, with_stroke_tag, words_alone
from command_line import UserError, parse
from config import GUIDED_SHARE, TrainConfig
from judging import Judge, JudgeError, Reading
from picture_grid import captioned_grid
from quiet import known_noise_off
from run_folder import write_atomically
from sampling import batch_size_for, sample, use_fast_sampler
from stop_signals import Stopped, StopSignals
from vector import save_svg

with known_noise_off():
    from diffusers import StableDiffusionPipeline

GRID = "collated_examples.png"
CANDIDATE_SEEDS = 1_000_000  # between the seeds of two candidates of a picture: no count reaches the next


@dataclass(frozen=True, kw_only=True)
class DrawingSettings:
    """Which model draws, and how: what all scripts that draw have in common."""

    model: str = "tiny"
    """`tiny` (the embedded base), a run folder, a pipeline folder, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit, for a hub id."""
    steps: int = 20
    """Denoising steps."""
    guidance_scale: float = TrainConfig.guidance_scale
    """Classifier-free guidance; 1 turns it off. 3 is for the embedded base, Stable Diffusion bases want 5 or more."""
    guided_share: float = GUIDED_SHARE
    """Share of the steps that guidance leads, 0 to 1, from the noisiest on."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw; `auto` takes a CUDA GPU where there is one."""
    seed: int = 0
    """What the noise of every picture, and all that is chosen by chance, is drawn from."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        self.require_at_least({"steps": 1, "seed": 0})
        if not 0.0 <= self.guided_share <= 1.0:
            raise ValueError(f"--guided_share {self.guided_share}: must be between 0 and 1")

    def draw(self, pipeline: StableDiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int],
             arithmetic: Callable[[], AbstractContextManager[object]] = nullcontext) -> Iterator[list[Image.Image]]:
        """Draw one picture for each prompt under these settings, of the model's own size, in batches; see sampling.

        Guidance leads away from the empty prompt and, where a prompt names a number of strokes, in every other step
        from its words alone, so that the number is heeded too. `arithmetic` is around each batch's drawing.
        """
        use_fast_sampler(pipeline)
        nothing, size = encode_prompts(pipeline, [""], pipeline.device), pipeline.unet.config.sample_size
        for start in range(0, len(prompts), batch_size_for(size)):
            batch = slice(start, start + batch_size_for(size))
            alone = [words_alone(prompt) for prompt in prompts[batch]]
            with arithmetic():
                text = encode_prompts(pipeline, prompts[batch], pipeline.device)
                others = [nothing] + ([encode_prompts(pipeline, alone, pipeline.device)] if any(alone) else [])
                pictures = sample(pipeline, text, others, seeds[batch], self.steps, self.guidance_scale,
                                  size * pipeline.vae_scale_factor, guided_share=self.guided_share)
            yield pictures

    def require_at_least(self, least: Mapping[str, int]) -> None:
        """Raise ValueError naming the first flag whose value is too small."""
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {value}")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(DrawingSettings):
    """Settings of a drawing."""

    prompts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """English words, a character each."""
    prompts_file: Path | None = None
    """A text file with a prompt a line; empty lines and those that begin with # are left out."""
    output: Path = Path("pictures")
    """The folder to write to; pictures of the same prompt and seed in it are replaced."""
    count: int = 1
    """Pictures for each prompt, with seeds that follow one another."""
    strokes: int | None = None
    """Ask for this many strokes; without it the model is free."""
    best_of: int = 1
    """Candidates for each picture, of which the recogniser chooses one; 1 draws without choosing."""
    explain: bool = False
    """Say under each picture what the recogniser reads in it, also without choosing."""
    svg: bool = False
    """Also write each drawing as vector paths, an SVG beside its PNG."""
    columns: int | None = None
    """Columns of the grid; about square without it."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        self.require_at_least({"count": 1, "best_of": 1})
        if self.strokes is not None and not 1 <= self.strokes <= 40:
            raise ValueError(f"--strokes {self.strokes}: must be between 1 and 40")


@dataclass(frozen=True)
class Order:
    """One picture to draw: the words as given, the prompt with its stroke tag, the seed, and the file's stem."""

    words: str
    prompt: str
    seed: int
    stem: str

    @property
    def noise_seed(self) -> int:
        """What the picture's generator is seeded with, 0 to 2**63: drawn from seed and words, not from the strokes."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{self.words}".encode()).digest()[:8], "little") >> 1

    def candidate(self, number: int) -> Order:
        """The same picture with the seed of its candidate of that number; the first is the picture itself."""
        return replace(self, seed=self.seed + number * CANDIDATE_SEEDS)


def main() -> None:
    """Parse, draw, and turn a user's mistake into one message and a non-zero exit status."""
    config = parse(GenerateConfig, sys.argv[1:], description=__doc__, program="generate.py")
    try:
        with StopSignals():
            grid = draw_to_folder(config)
    except (BaseError, JudgeError, UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except Stopped as stopped:
        print(f"stopped by {stopped}; what was drawn lies in {config.output}", file=sys.stderr)
        sys.exit(stopped.exit_status)
    print(f"pictures: {config.output}\ngrid:     {grid}")


def draw_to_folder(config: GenerateConfig) -> Path:
    """Draw all that is asked for into the output folder; returns the grid's path.

    Raises UserError for an empty prompt, an unreadable prompts file or a GPU that is not there, BaseError for a model
    that cannot be had; nothing is written then.
    """
    orders = read_orders(config)
    device = choose_device(config.device)
    judge = Judge.load() if config.best_of > 1 or config.explain else None
    pipeline = load_model(config.model, config.revision).to(device)
    model = model_facts(config.model, pipeline)
    config.output.mkdir(parents=True, exist_ok=True)
    candidates = [order.candidate(number) for order in orders for number in range(config.best_of)]
    drawn = draw(pipeline, candidates, config)
    pictures, captions = [], []
    for order in orders:
        picture, chosen, reading = choose(list(itertools.islice(drawn, config.best_of)), judge, config.strokes)
        save_drawing(picture, config.output, order.stem, facts_of(order.candidate(chosen), config, model, reading))
        if config.svg:
            save_svg(picture, order.prompt, config.output / f"{order.stem}.svg")
        pictures.append(picture)
        captions.append(order.prompt)
        if reading:
            tqdm.write(f"{order.prompt}: {reading['explanation']}")
    grid = config.output / GRID
    save_picture(captioned_grid(pictures, captions, config.columns), grid)
    return grid


def choose(pictures: Sequence[Image.Image], judge: Judge | None,
           strokes: int | None) -> tuple[Image.Image, int, dict[str, object]]:
    """The best of some candidates, which one it is, and what the judge reads in it; without a judge, the first."""
    if judge is None:
        return pictures[0], 0, {}
    readings = judge.look(pictures)
    chosen = judge.best(readings, strokes)
    return pictures[chosen], chosen, reading_facts(readings[chosen])


def reading_facts(reading: Reading) -> dict[str, object]:
    """What a picture's JSON says of a reading."""
    return {"explanation": reading.explain(), "well_formed": round(reading.well_formed, 4),
            "is_well_formed": reading.is_well_formed, "strokes": reading.strokes,
            "parts": [str(part) for part in reading.parts]}


def model_facts(name: str, pipeline: StableDiffusionPipeline) -> dict[str, str]:
    """Which model it is: its name, and SHA-256 of its two networks."""
    return {"name": name, "unet_sha256": module_hash(pipeline.unet), "vae_sha256": module_hash(pipeline.vae)}


def facts_of(order: Order, config: GenerateConfig, model: dict[str, str],
             reading: dict[str, object]) -> dict[str, object]:
    """What a picture's JSON says of how it was made; the reading only where there is one."""
    return {"words": order.words, "prompt": order.prompt, "seed": order.seed, "noise_seed": order.noise_seed,
            "strokes": config.strokes, "steps": config.steps, "guidance_scale": config.guidance_scale,
            "guided_share": config.guided_share, "best_of": config.best_of, "model": model,
            **({"reading": reading} if reading else {})}


def draw(pipeline: StableDiffusionPipeline, orders: Sequence[Order],
         config: GenerateConfig) -> Iterator[Image.Image]:
    """The pictures of the orders, in order, drawn in batches under a progress bar."""
    batches = config.draw(pipeline, [order.prompt for order in orders], [order.noise_seed for order in orders])
    with tqdm(total=len(orders), desc="drawing", unit="picture") as bar:
        for pictures in batches:
            bar.update(len(pictures))
            yield from pictures


def load_model(name: str, revision: str | None = None) -> StableDiffusionPipeline:
    """A pipeline by name: a run folder stands for the pipeline in it. Raises BaseError where it cannot be had."""
    run = Path(name)
    if (run / "config.json").exists() and not (run / "model_index.json").exists():
        if not (run / "pipeline").is_dir():
            raise BaseError(f"--model {name}: this run has no pipeline yet; the command in its command.txt ends it")
        name = str(run / "pipeline")
    return load_pipeline(name, revision)


def choose_device(name: str) -> torch.device:
    """The device of that name. Raises UserError where a GPU is asked for and not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU can be used here. Leave the flag out to draw on the CPU.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def read_orders(config: GenerateConfig) -> list[Order]:
    """What is to be drawn, from the flags. Raises UserError where there is no prompt or an empty one."""
    words = list(config.prompts)
    if config.prompts_file is not None:
        words += [prompt for _, prompts in read_sections(config.prompts_file) for prompt in prompts]
    if not words:
        raise UserError('no prompt: name one or more, as in: generate.py "Buzz Aldrin" Ferrari')
    if not all(word.strip() for word in words):
        raise UserError("an empty prompt: each needs at least one word")
    stems = unique_stems(words)
    return [Order(word, word if config.strokes is None else with_stroke_tag(word, config.strokes), seed,
                  f"{stem}-{seed}")
            for word, stem in zip(words, stems, strict=True)
            for seed in range(config.seed, config.seed + config.count)]


def read_sections(path: Path) -> list[tuple[str, list[str]]]:
    """A prompts file as (heading, prompts): each comment line heads the prompts up to the next, "" those before any.

    Empty lines and headings without prompts are left out. Raises UserError where the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--prompts_file {path}: cannot be read ({error})") from None
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in filter(None, map(str.strip, lines)):
        if line.startswith("#"):
            sections.append((line.lstrip("# "), []))
        else:
            sections[-1][1].append(line)
    return [(heading, prompts) for heading, prompts in sections if prompts]


def unique_stems(words: Sequence[str]) -> list[str]:
    """File names for prompts: lower case, hyphens, and a number where two would be the same."""
    stems: list[str] = []
    for word in words:
        stem = re.sub(r"[^\w]+", "-", word.lower()).strip("-_")[:60] or "prompt"
        same = 2
        candidate = stem
        while candidate in stems:
            candidate, same = f"{stem}-{same}", same + 1
        stems.append(candidate)
    return stems


def save_drawing(picture: Image.Image, folder: Path, stem: str, facts: dict[str, object]) -> None:
    """Save a drawing as STEM.png and what is to be said of it as STEM.json. Raises OSError."""
    save_picture(picture, folder / f"{stem}.png")
    write_atomically(folder / f"{stem}.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def save_picture(picture: Image.Image, path: Path) -> None:
    """Save a PNG so that it is whole or not there."""
    temporary = path.with_name(f".{path.name}.tmp")
    picture.save(temporary, format="PNG")
    temporary.replace(path)


if __name__ == "__main__":
    main()
