"""Draw characters with a model, keep those that a recogniser finds good, and write them as a set to train it on.

    python training/train_recogniser.py --seed 2 --steps 3000 --redrawn 1200 --output_dir runs/third
    python training/self_training.py --model tiny --recogniser runs/third/weights --output data/own
    python training/train_text_to_image.py --preset tiny --extra_data_dir data/own --output_dir runs/tiny-own

Rejection sampling (as in RAFT, arXiv 2304.06767): words that no kanji means have no picture to learn from, so the model
wavers between several and draws a mixture. What it drew well is a picture to learn from. Half of the orders name a
number of strokes; each kept drawing is labelled with the number that the recogniser counts in it, not with the one
asked for. A known meaning is kept only where a part of a kanji of that meaning was found.

The recogniser is one of its own seed, neither the judge nor the second one: those score the model that comes of it.
No prompt of evaluate.py's sets `wild`, `heldout` and `pairs` is drawn, and no word of `wild` among the words. Those of
`known` and `budget`, which are meanings of training kanji, are drawn.

OUTPUT is an imagefolder (metadata.jsonl with file_name, text, strokes, kind "drawn"; manifest.json with settings and
counts; README.md), there only when it is whole; a run that was stopped goes on with the same command.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch_environment  # noqa: F401 - before torch

# isort: split

import torch
from tqdm import tqdm

import model_card
from bases import BaseError
from cache import encode_prompts
from captioned_dataset import DatasetError, Row, read_dataset
from command_line import UserError, parse
from generate import DrawingSettings, choose_device, load_model, model_facts
from judging import Judge, JudgeError, Reading
from prompt_sets import Prompt, jouyou_strokes, known_prompts, pair_prompts, wild_prompts
from quiet import known_noise_off
from run_folder import write_atomically
from sampling import batch_size_for, use_fast_sampler
from stop_signals import Stopped, StopSignals

with known_noise_off():
    from diffusers import StableDiffusionPipeline
    from transformers import PreTrainedTokenizerBase

TWO_WORDS = 0.25  # share of the words' orders that name two
TAGGED = 0.5  # share of the orders that name a number of strokes
LEAST_LETTERS = 3  # of a word
DRAWN = "drawn.jsonl"  # what was drawn so far, a line each
UNLIMITED = 10**9


@dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig(DrawingSettings):
    """Settings of a set of the model's own drawings."""

    recogniser: Path
    """The folder of the recogniser that chooses: weights/ of a run of train_recogniser.py with a seed of its own."""
    train_data_dir: Path = Path("data/kanji")
    """The dataset folder whose meanings are drawn, and whose held-out ones are not."""
    output: Path = Path("data/own")
    """The folder to write."""
    words: int = 6000
    """Orders of words from the text encoder's vocabulary, a quarter of them two words."""
    meanings: int = 4000
    """Orders of meanings of everyday training kanji."""
    least_well_formed: float = 0.995
    """Probability of being well-formed, 0 to 1, from which on a drawing is kept, but at least the recogniser's own."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        self.require_at_least({"words": 0, "meanings": 0})
        if not 0.0 <= self.least_well_formed < 1.0:
            raise ValueError(f"--least_well_formed {self.least_well_formed}: must be between 0 and 1")
        if not self.words + self.meanings:
            raise ValueError("--words 0 and --meanings 0: there is nothing to draw")


@dataclass(frozen=True)
class Order:
    """One picture to draw. The prompt's `answers` say which parts would be right; without any, all are."""

    prompt: Prompt
    seed: int

    def accepts(self, reading: Reading, least_well_formed: float) -> bool:
        """Whether a drawing is good enough to learn from."""
        found = frozenset(part.original for part in reading.parts)
        return (reading.is_well_formed and reading.well_formed >= least_well_formed
                and (not self.prompt.answers or any(answer & found for answer in self.prompt.answers)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, choose and write; returns the exit status."""
    config = parse(SelfTrainingConfig, sys.argv[1:] if arguments is None else arguments, __doc__,
                   program="self_training.py")
    try:
        with StopSignals() as stop:
            manifest = make_set(config, stop)
    except (BaseError, DatasetError, JudgeError, UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"stopped by {stopped}; the same command goes on from here", file=sys.stderr)
        return stopped.exit_status
    print(f"{config.output}: {manifest['kept']} of {manifest['drawn']} drawings were kept. To train on them:\n"
          f"python training/train_text_to_image.py --preset tiny --extra_data_dir {config.output} "
          "--output_dir runs/tiny-own")
    return 0


def make_set(config: SelfTrainingConfig, stop: StopSignals) -> dict[str, Any]:
    """Draw what is still to be drawn and write the set; returns its manifest.

    Raises BaseError, DatasetError, JudgeError or UserError where the model, the dataset, the recogniser or the device
    cannot be had, or where the folder holds something else; nothing is written then.
    """
    recogniser = Judge.load(config.recogniser, dataset=None)
    device = choose_device(config.device)
    pipeline = load_model(config.model, config.revision).to(device)
    facts = {"settings": json.loads(json.dumps(asdict(config), default=str)),
             "model": model_facts(config.model, pipeline), "recogniser_sha256": recogniser.facts["sha256"]}
    if config.output.exists():
        return _finished(config.output, facts)
    rows, held_out = read_dataset(config.train_data_dir), read_dataset(config.train_data_dir, "test")
    orders = choose_orders(config, pipeline.tokenizer, rows, held_out)
    if not orders:
        raise UserError(f"{config.train_data_dir} and the text encoder's vocabulary give no word to draw")
    building = config.output.with_name(f".{config.output.name}.part")
    done = _begin(building, facts)
    with (building / DRAWN).open("a", encoding="utf8") as log, tqdm(
            total=len(orders), initial=len(done), desc="drawing", unit="picture") as bar:
        for lines in _draw(pipeline, recogniser, orders, len(done), config, device, building):
            with stop.deferred():
                log.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
                log.flush()
                done += lines
            bar.update(len(lines))
            bar.set_postfix(kept=sum(line["kept"] for line in done))
    return _finish(building, config.output, facts, done)


def choose_orders(config: SelfTrainingConfig, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row],
                  held_out: Sequence[Row]) -> list[Order]:
    """What to draw, in the order in which it is drawn: a function of the seed."""
    draw = random.Random(config.seed)
    asked = {prompt.text.lower() for prompt in pair_prompts(config.train_data_dir, UNLIMITED, 0)}
    asked |= {caption.lower() for row in held_out for caption in row.captions}
    modern = {word for prompt in wild_prompts(None) for word in _words(prompt.text)}
    words = [word for word in vocabulary(tokenizer) if word not in modern]
    meanings = [prompt for prompt in known_prompts(rows, UNLIMITED, 0) if prompt.text.lower() not in asked]
    budgets = sorted(jouyou_strokes(rows)) or [8]

    prompts = []
    for word in _cycled(words, config.words, draw):
        text = f"{word} {draw.choice(words)}" if draw.random() < TWO_WORDS else word
        if text not in asked:
            prompts.append(Prompt(text))
    prompts += _cycled(meanings, config.meanings, draw)
    draw.shuffle(prompts)
    return [Order(replace(prompt, strokes=draw.choice(budgets) if draw.random() < TAGGED else None),
                  draw.getrandbits(62)) for prompt in prompts]


def vocabulary(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The whole words of a tokenizer's vocabulary in the order of their numbers, WordPiece's or CLIP's, lower case."""
    numbers = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in numbers]
    if any(token.endswith("</w>") for token in tokens):
        tokens = [token.removesuffix("</w>") for token in tokens if token.endswith("</w>")]
    return [token for token in tokens if len(token) >= LEAST_LETTERS and re.fullmatch("[a-z]+", token)]


def _draw(pipeline: StableDiffusionPipeline, recogniser: Judge, orders: Sequence[Order], done: int,
          config: SelfTrainingConfig, device: torch.device, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Draw the orders from number `done` on; for each batch a line an order. Kept pictures are saved first."""
    use_fast_sampler(pipeline)
    empty = encode_prompts(pipeline, [""], device)
    size = batch_size_for(pipeline.unet.config.sample_size)
    for start in range(done, len(orders), size):
        batch = orders[start:start + size]
        text = encode_prompts(pipeline, [order.prompt.asked for order in batch], device)
        with torch.autocast(device.type, torch.bfloat16):
            pictures = config.sample(pipeline, text, empty, [order.seed for order in batch])
        lines = []
        for number, order, picture, reading in zip(range(start, start + size), batch, pictures,
                                                   recogniser.look(pictures), strict=False):
            kept = order.accepts(reading, config.least_well_formed)
            name = f"{number:06d}.png"
            if kept:
                picture.save(folder / name)
            lines.append({"kept": kept, "meaning": bool(order.prompt.answers), "row": {
                "file_name": name, "text": order.prompt.text, "strokes": max(1, round(reading.strokes)),
                "kind": "drawn"}})
        yield lines


def _begin(building: Path, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Open the unfinished folder, or make it; returns what was drawn already."""
    manifest, log = building / "manifest.json", building / DRAWN
    if not manifest.exists():
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        log.touch()
        write_atomically(manifest, json.dumps(facts, indent=1) + "\n")
        return []
    _refuse_others(building, json.loads(manifest.read_text(encoding="utf8")), facts)
    whole = log.read_bytes().rpartition(b"\n")[0]
    text = whole.decode() + "\n" if whole else ""
    write_atomically(log, text)
    return [json.loads(line) for line in text.splitlines()]


def _finish(building: Path, output: Path, facts: dict[str, Any], done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write metadata, manifest and card, and give the folder its name."""
    kept = [line["row"] for line in done if line["kept"]]
    if not kept:
        raise UserError(f"none of {len(done)} drawings was good enough; the model needs more training first")
    meanings = [line["kept"] for line in done if line["meaning"]]
    manifest = {**facts, "drawn": len(done), "kept": len(kept),
                "words_drawn": len(done) - len(meanings), "words_kept": len(kept) - sum(meanings),
                "meanings_drawn": len(meanings), "meanings_kept": sum(meanings)}
    write_atomically(building / "metadata.jsonl",
                     "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    write_atomically(building / "README.md", CARD.format(count=len(kept), attribution=model_card.DATA_ATTRIBUTION))
    write_atomically(building / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    building.rename(output)
    (output / DRAWN).unlink()
    return manifest


def _finished(output: Path, facts: dict[str, Any]) -> dict[str, Any]:
    try:
        manifest = json.loads((output / "manifest.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        raise UserError(f"--output {output}: is there already and is no set of drawings; name another") from None
    _refuse_others(output, manifest, facts)
    return manifest


def _refuse_others(folder: Path, there: dict[str, Any], facts: dict[str, Any]) -> None:
    settings = there.get("settings", {})
    differing = [f"--{name}" for name, value in facts["settings"].items()
                 if name not in ("output", "device") and settings.get(name) != value]
    differing += [name for name in ("model", "recogniser_sha256") if there.get(name) != facts[name]]
    if differing:
        raise UserError(f"{folder}: was drawn with other settings ({', '.join(differing)}); name another --output or "
                        "remove it")


def _cycled(things: Sequence[Any], count: int, draw: random.Random) -> list[Any]:
    """`count` of the things in random order, each as often as any other."""
    chosen: list[Any] = []
    while things and len(chosen) < count:
        chosen += draw.sample(things, min(len(things), count - len(chosen)))
    return chosen


def _words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


CARD = """---
license: cc-by-sa-4.0
task_categories:
- text-to-image
---

# A model's own drawings

{count} characters that a model of this project drew and that a recogniser found well-formed, with the words that they
were drawn for and the strokes that it counts; manifest.json names both. Most do not exist; those for known meanings may
be real kanji.

## Attribution

{attribution}
"""


if __name__ == "__main__":
    sys.exit(main())
