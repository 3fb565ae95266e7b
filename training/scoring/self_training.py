"""Drawings of a model's own, sorted by a recogniser into what to learn from and what to lead away from."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from common.device import autocast, choose_device
from common.errors import UserError
from common.files import write_text
from common.quiet import known_noise_off
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from dataset.rows import Row
from generation.drawing import model_facts
from generation.settings import SamplingSettings
from models.pipelines import load_model
from recogniser.judge import Judge, Reading
from scoring.prompt_sets import Prompt, jouyou_strokes, known_prompts, pair_prompts, wild_prompts
from trainer import model_card

with known_noise_off():
    from diffusers import StableDiffusionPipeline
    from transformers import PreTrainedTokenizerBase


TWO_WORDS = 0.25  # share of the words' prompts that name two
TAGGED = 0.5  # share of the prompts that name a number of strokes
STROKES_OFF = 1  # by so many a good drawing may miss the number
PLAIN = 2 / 3  # share of everyday characters that have no more strokes than a good drawing of words that name none
MIN_LETTERS = 3  # of a word
DRAWN = "drawn.jsonl"  # what was drawn so far, a line each
GOOD, OFF, DOUBTFUL, BAD = "good", "off", "doubtful", "bad"  # what a recogniser finds of a drawing
DRAWING, REJECTED = "drawn", "rejected"  # the kinds of rows
UNLIMITED = 10**9


@dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig(SamplingSettings):
    """Settings of a set of the model's own drawings."""

    recogniser: Path
    """The folder of the recogniser that chooses: weights/ of a run of train_recogniser.py with a seed of its own."""
    train_data_dir: Path = Path("data/kanji")
    """The dataset folder whose meanings are drawn, and whose held-out ones are not."""
    output: Path = Path("data/own")
    """The folder to write."""
    words: int = 2000
    """Prompts of words from the text encoder's vocabulary, a quarter of them two words."""
    meanings: int = 2000
    """Prompts that are meanings of everyday training kanji."""
    pairs: int = 1000
    """Prompts that are captions of composed characters: two concepts."""
    drawings: int = 2
    """Drawings of each prompt, of which some may be good and others not."""
    min_well_formed: float = 0.995
    """Probability of being well-formed, 0 to 1, from which on a drawing is good, but at least the recogniser's own."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        self.require_at_least({"words": 0, "meanings": 0, "pairs": 0, "drawings": 1})
        if not 0.0 <= self.min_well_formed < 1.0:
            raise ValueError(f"--min_well_formed {self.min_well_formed}: must be between 0 and 1")
        if not self.words + self.meanings + self.pairs:
            raise ValueError("--words 0, --meanings 0 and --pairs 0: there is nothing to draw")


@dataclass(frozen=True)
class SampleRequest:
    """One picture to draw. The prompt's `answers` say which parts would be right; without any, all are.

    group: the prompt's number, which its drawings share; kind: "words", "meanings" or "pairs"; most_strokes: of a good
    drawing of a prompt that names no number.
    """

    prompt: Prompt
    seed: int
    group: int
    kind: str
    most_strokes: int | None = None

    def verdict(self, reading: Reading, min_well_formed: float) -> str:
        """What the reading says of a drawing: GOOD, OFF where only the strokes fail, DOUBTFUL (hardly good), or BAD."""
        found = frozenset(part.original for part in reading.components)
        shown = [answer <= found if self.kind == "pairs" else answer & found for answer in self.prompt.answers]
        budget, strokes = self.prompt.strokes, round(reading.strokes)
        in_budget = abs(strokes - budget) <= STROKES_OFF if budget else strokes <= (self.most_strokes or strokes)
        if not reading.is_well_formed or (shown and not any(shown)):
            return BAD
        if reading.well_formed >= min_well_formed:
            return GOOD if in_budget else OFF
        return DOUBTFUL if in_budget else BAD


def make_set(config: SelfTrainingConfig, stop: StopSignals) -> dict[str, Any]:
    """Draw what is still to be drawn and write the set; returns its manifest.

    Raises ModelError, DatasetError, JudgeError or UserError where the model, the dataset, the recogniser or the device
    cannot be had, or where the folder holds something else; nothing is written then.
    """
    recogniser = Judge.load(config.recogniser, dataset=None)
    device = choose_device(config.device)
    pipeline = load_model(config.model, config.revision).to(device)
    facts = {"settings": json.loads(json.dumps(asdict(config), default=str)),
             "model": model_facts(config.model, pipeline), "recogniser_sha256": recogniser.metadata["sha256"]}
    if config.output.exists():
        return _finished(config.output, facts)
    rows, held_out = read_dataset(config.train_data_dir), read_dataset(config.train_data_dir, "test")
    requests = choose_requests(config, pipeline.tokenizer, rows, held_out)
    if not requests:
        raise UserError(f"{config.train_data_dir} and the text encoder's vocabulary give no word to draw")
    building = config.output.with_name(f".{config.output.name}.part")
    done = _begin(building, facts)
    with (building / DRAWN).open("a", encoding="utf8") as log, tqdm(
            total=len(requests), initial=len(done), desc="drawing", unit="picture") as bar:
        for lines in _draw(pipeline, recogniser, requests, len(done), config, device, building):
            with stop.deferred():
                log.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
                log.flush()
                done += lines
            bar.update(len(lines))
            bar.set_postfix(good=sum(line["verdict"] == GOOD for line in done))
    return _finish(building, config.output, facts, done)


def said_of(manifest: Mapping[str, Any], output: Path) -> str:
    """What a person is told of a set that was made, and how it is trained on."""
    return (f"{output}: of {manifest['drawn']} drawings {manifest['kept']} were kept and {manifest['rejected']} "
            "are there to be led away from. To train on them:\n"
            f"python training/train_text_to_image.py --preset tiny --extra_data_dir {output} "
            "--output_dir runs/tiny-own")


def choose_requests(config: SelfTrainingConfig, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row],
                  held_out: Sequence[Row]) -> list[SampleRequest]:
    """What to draw, in the order in which it is drawn, a prompt's drawings together: a function of the seed."""
    draw = random.Random(config.seed)
    asked = {prompt.text.lower() for prompt in pair_prompts(config.train_data_dir, UNLIMITED, 0)}
    asked |= {caption.lower() for row in held_out for caption in row.captions}
    modern = {word for prompt in wild_prompts(None) for word in _words(prompt.text)}
    words = [word for word in vocabulary(tokenizer) if word not in modern]
    meanings = [prompt for prompt in known_prompts(rows, UNLIMITED, 0) if prompt.text.lower() not in asked]
    pairs = [Prompt(caption, (row.forms,)) for row in rows if row.is_composed for caption in row.captions
             if caption.lower() not in asked]
    budgets = sorted(jouyou_strokes(rows)) or [8]
    plain = budgets[round(PLAIN * (len(budgets) - 1))]

    prompts = []
    for word in _cycled(words, config.words, draw):
        text = f"{word} {draw.choice(words)}" if draw.random() < TWO_WORDS else word
        if text not in asked:
            prompts.append(("words", Prompt(text)))
    prompts += [("meanings", prompt) for prompt in _cycled(meanings, config.meanings, draw)]
    prompts += [("pairs", prompt) for prompt in _cycled(pairs, config.pairs, draw)]
    draw.shuffle(prompts)
    requests = []
    for group, (kind, prompt) in enumerate(prompts):
        strokes = min(draw.choices(budgets, k=2 if kind == "words" else 1))
        ordered = replace(prompt, strokes=strokes if draw.random() < TAGGED else None)
        requests += [SampleRequest(ordered, draw.getrandbits(62), group, kind, plain if kind == "words" else None)
                   for _ in range(config.drawings)]
    return requests


def vocabulary(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The whole words of a tokenizer's vocabulary in the order of their numbers, WordPiece's or CLIP's, lower case."""
    numbers = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in numbers]
    if any(token.endswith("</w>") for token in tokens):
        tokens = [token.removesuffix("</w>") for token in tokens if token.endswith("</w>")]
    return [token for token in tokens if len(token) >= MIN_LETTERS and re.fullmatch("[a-z]+", token)]


def _draw(pipeline: StableDiffusionPipeline, recogniser: Judge, requests: Sequence[SampleRequest], done: int,
          config: SelfTrainingConfig, device: torch.device, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Draw the requests from number `done` on; for each batch a line an request. The pictures are saved first."""
    requests = requests[done:]
    waiting = enumerate(requests, done)
    for pictures in config.draw(pipeline, [request.prompt.asked for request in requests],
                                [request.seed for request in requests], lambda: autocast(device)):
        lines, batch = [], list(itertools.islice(waiting, len(pictures)))
        readings = recogniser.read(pictures, [request.prompt.text for _, request in batch])
        for picture, reading, (number, request) in zip(pictures, readings, batch, strict=True):
            name = f"{number:06d}.png"
            picture.save(folder / name)
            lines.append({"kind": request.kind, "group": request.group,
                          "verdict": request.verdict(reading, config.min_well_formed), "file_name": name,
                          "text": request.prompt.text, "asked": request.prompt.asked,
                          "strokes": max(1, round(reading.strokes))})
        yield lines


def _begin(building: Path, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Open the unfinished folder, or make it; returns what was drawn already."""
    manifest, log = building / "manifest.json", building / DRAWN
    if not manifest.exists():
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        log.touch()
        write_text(manifest, json.dumps(facts, indent=1) + "\n")
        return []
    _refuse_others(building, json.loads(manifest.read_text(encoding="utf8")), facts)
    whole = log.read_bytes().rpartition(b"\n")[0]
    text = whole.decode() + "\n" if whole else ""
    write_text(log, text)
    return [json.loads(line) for line in text.splitlines()]


def _finish(building: Path, output: Path, facts: dict[str, Any], done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write metadata, manifest and card, remove what is neither kept nor rejected, and give the folder its name."""
    chosen = choose(done)
    drawn, kept, rejected = Counter(line["kind"] for line in done), Counter(), Counter()
    for line, row in zip(done, chosen, strict=True):
        if row:
            (rejected if row["kind"] == REJECTED else kept)[line["kind"]] += 1
    if not kept:
        raise UserError(f"none of {len(done)} drawings was good enough; the model needs more training first")
    for line, row in zip(done, chosen, strict=True):
        if not row:
            (building / line["file_name"]).unlink(missing_ok=True)
    manifest = {**facts, "drawn": len(done), "kept": kept.total(), "rejected": rejected.total(), "kinds": {
        kind: {"drawn": drawn[kind], "kept": kept[kind], "rejected": rejected[kind]} for kind in sorted(drawn)}}
    write_text(building / "metadata.jsonl",
                     "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen if row))
    write_text(building / "README.md", CARD.format(kept=kept.total(), rejected=rejected.total(),
                                                         attribution=model_card.DATA_ATTRIBUTION))
    write_text(building / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    building.rename(output)
    (output / DRAWN).unlink()
    return manifest


def choose(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """What becomes of each drawing: a row of the set, or None where it teaches nothing.

    Where a prompt has good drawings and others that clearly fail, the good ones are kept and the others rejected; where
    none fails, the first good one is kept; where none is good, those are kept that fail by their strokes alone.
    """
    with_good = {line["group"] for line in lines if line["verdict"] == GOOD}
    with_failing = {line["group"] for line in lines if line["verdict"] in (OFF, BAD)}
    rows: list[dict[str, Any] | None] = []
    shown = set()
    for line in lines:
        row, verdict, group = None, line["verdict"], line["group"]
        if verdict == GOOD and (group in with_failing or group not in shown):
            row = _kept(line)
            shown.add(group)
        elif verdict == OFF and group not in with_good:
            row = _kept(line)
        elif verdict in (OFF, BAD) and group in with_good:
            row = {"file_name": line["file_name"], "text": line["asked"], "strokes": None, "kind": REJECTED}
        rows.append(row)
    return rows


def _kept(line: dict[str, Any]) -> dict[str, Any]:
    return {"file_name": line["file_name"], "text": line["text"], "strokes": line["strokes"], "kind": DRAWING}


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
    """`count` of the things in random request, each as often as any other."""
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

{kept} characters (kind "drawn") that a model of this project drew and that a recogniser found well-formed, with the
words that they were drawn for and the strokes that it counts; manifest.json names both. Most do not exist; those for
known meanings may be real kanji. Beside them {rejected} (kind "rejected") that it drew for the same prompts and that
fail: what is trained on this set is led away from these.

## Attribution

{attribution}
"""
