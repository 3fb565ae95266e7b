"""What is to be drawn: words, plan, strokes, seed and file name of each image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import UserError
from dataset.captions import with_stroke_tag
from generation.settings import GenerateConfig
from planner.plan import Plan

STEM_LETTERS, STEM_BYTES = 60, 180  # of a file's name
CANDIDATE_SEEDS = 1_000_000  # between the seeds of two candidates of an image: no count reaches the next
# The plan of each candidate by rank, the image's own first; then all over again. Of 53 names of prompts/development.txt
# the best of eight shows both components of 87 % with one plan, of 92 to 96 % with two or three, of 98 % with four.
CANDIDATE_PLANS = (0, 1, 0, 2, 1, 0, 2, 3)


def noise_seed(seed: int, words: str) -> int:
    """What the generator of an image's noise is seeded with, 0 to 2**63: a hash of the seed and the prompt's words.

    It is what a seed means wherever something is drawn, so that two prompts never begin alike and every image can be
    drawn again by generate.py with the words and the seed that stand beside it.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{words}".encode()).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class ImageRequest:
    """One image to draw: the words as given, the number of strokes asked for, the seed, and the file's stem.

    plan: what the words were turned into, None where they are drawn as they are; other_plans: those of which further
    candidates are drawn, the best first; tokens: the components that the model has tokens for.
    """

    words: str
    strokes: int | None
    seed: int
    stem: str
    plan: Plan | None = None
    other_plans: tuple[Plan, ...] = ()
    tokens: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        """The words as given, with the stroke tag where a number is asked for: what an image is called."""
        return self._tagged(self.words)

    @property
    def drawn_words(self) -> str:
        """What the model is asked for, without a stroke tag: the plan's words, or those that were given."""
        return self.words if self.plan is None else self.plan.prompt

    @property
    def prompt(self) -> str:
        """What the model is given: the words to draw, with the stroke tag where a number is asked for.

        A plan's words have its components' tokens beside them where the model has these.
        """
        return self._tagged(self.words if self.plan is None else self.plan.prompt_with(self.tokens))

    @property
    def noise_seed(self) -> int:
        """What the image's generator is seeded with; see `noise_seed`. Neither strokes nor a plan change it."""
        return noise_seed(self.seed, self.words)

    def candidate(self, number: int) -> ImageRequest:
        """The same image with the seed and the plan of its candidate of that number; the first is the image itself."""
        rank = CANDIDATE_PLANS[number % len(CANDIDATE_PLANS)]
        plan = (self.plan, *self.other_plans)[rank] if rank <= len(self.other_plans) else self.plan
        return replace(self, seed=self.seed + number * CANDIDATE_SEEDS, plan=plan)

    def _tagged(self, words: str) -> str:
        return words if self.strokes is None else with_stroke_tag(words, self.strokes)


def read_requests(config: GenerateConfig) -> list[ImageRequest]:
    """What is to be drawn, from the flags, not planned yet; --parts without a prompt is a prompt of its own.

    Raises UserError where there is no prompt or an empty one.
    """
    words = list(config.prompts)
    if config.prompts_file is not None:
        words += [prompt for _, prompts in read_sections(config.prompts_file) for prompt in prompts]
    if not words and config.parts is not None:
        words = [" ".join(part_names(config.parts))]
    if not words:
        raise UserError('no prompt: name one or more, as in: generate.py "Buzz Aldrin" Ferrari')
    if not all(word.strip() for word in words):
        raise UserError("an empty prompt: each needs at least one word")
    return [ImageRequest(word, config.strokes, seed, f"{stem}-{seed}")
            for word, stem in zip(words, unique_stems(words), strict=True)
            for seed in range(config.seed, config.seed + config.count)]


def part_names(parts: str) -> list[str]:
    """The names in --parts, which commas part. Raises UserError where one is empty."""
    names = [" ".join(name.split()) for name in parts.split(",")]
    if not all(names):
        raise UserError(f'--parts "{parts}": an empty name; as in: --parts "boat, water"')
    return names


def read_sections(path: Path) -> list[tuple[str, list[str]]]:
    """A prompts file as (heading, prompts): each comment line heads the prompts up to the next, "" those before any.

    Empty lines and headings without prompts are left out. Raises UserError where the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # some editors begin a file with a byte-order mark
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
    """File names for prompts: lower case, hyphens, and a number where two would be the same.

    Short enough for a file system, which has room for 255 bytes, also with a seed and an ending.
    """
    stems: list[str] = []
    for word in words:
        stem = re.sub(r"[^\w]+", "-", word.lower()).strip("-_")[:STEM_LETTERS] or "prompt"
        stem = stem.encode()[:STEM_BYTES].decode(errors="ignore")
        same = 2
        candidate = stem
        while candidate in stems:
            candidate, same = f"{stem}-{same}", same + 1
        stems.append(candidate)
    return stems
