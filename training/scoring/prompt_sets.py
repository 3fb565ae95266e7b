"""What a model is asked for when it is scored: sets of prompts with what a good answer would contain.

known: meanings of training kanji; heldout: all meanings of kanji that were never trained on; pairs: two concepts that
were never composed; wild: the modern world, which has no kanji; budget: known meanings with a number of strokes; plans:
words that no model was trained on. pairs_spelled: the same pairs in components, for a model that has tokens of them, as
a plan is handed over to it. In the planned sets, `plans` and four of the others once more, a planner turns the
words into components, and the model is given their names.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataset.captioned_folder import DatasetError
from dataset.captions import LAYOUTS, components_caption
from dataset.rows import Row, form_of, forms_alike, homonyms
from generation.drawn_components import DrawnComponents
from generation.planning import MAX_PLANS, best_drawn_first
from generation.request import ImageRequest
from planner.exclusions import PLANS, WILD, read_fitting, read_prompts
from planner.plan import Plan
from planner.planner import Planner


@dataclass(frozen=True)
class Prompt:
    """One prompt. Components are meaning forms (the 水 of 氵), so that either shape of one is right.

    answers: sets of components, each of them a right answer (several kanji may share a meaning). any_fits: whether it
    is no answer but a list of components of which any fits, as in `wild`. plans: in planned sets what the words were
    turned into, the best first, none where nothing can be planned. literals: the kanji that mean this.
    strokes: the number that is asked for. seen_as_component: whether a kanji that means this, though held out, stands
    in training characters as a component under its own meaning.
    """

    text: str
    answers: tuple[frozenset[str], ...] = ()
    literals: tuple[str, ...] = ()
    strokes: int | None = None
    any_fits: bool = False
    seen_as_component: bool = False
    plans: tuple[Plan, ...] = ()

    @property
    def plan(self) -> Plan | None:
        """The plan that is drawn; None where the model is given the text itself."""
        return self.plans[0] if self.plans else None

    @property
    def title(self) -> str:
        """The text with the number of strokes where one is asked for."""
        return self.request(0).title

    @property
    def asked(self) -> str:
        """What the model is given: the text or its plan's words, with the number of strokes where one is asked for."""
        return self.request(0).prompt

    def request(self, seed: int) -> ImageRequest:
        """What generate.py is asked for, for the image of this prompt and seed."""
        return ImageRequest(self.text, self.strokes, seed, "", self.plan, self.plans[1:])


def known_prompts(rows: Sequence[Row], count: int, seed: int) -> list[Prompt]:
    """Meanings of everyday training kanji, one a kanji, chosen by the seed."""
    frequent = [row for row in rows if not row.is_composed and row.is_frequent and row.metadata.get("components")]
    meanings = sorted({caption for row in frequent for caption in row.captions})
    return _of_meanings(random.Random(seed).sample(meanings, min(count, len(meanings))), rows)


def heldout_prompts(held_out: Sequence[Row], rows: Sequence[Row], count: int | None, seed: int) -> list[Prompt]:
    """All meanings of the held-out kanji, or `count` of them chosen by the seed; `rows` are those trained on."""
    meanings = sorted({caption for row in held_out for caption in row.captions})
    if count is not None and count < len(meanings):
        meanings = random.Random(seed).sample(meanings, count)
    components = frozenset().union(*(row.forms for row in rows))
    return [replace(prompt, seen_as_component=not components.isdisjoint(prompt.literals))
            for prompt in _of_meanings(meanings, held_out)]


def pair_prompts(folder: Path, count: int, seed: int, rows: Sequence[Row] = (), spelled: bool = False) -> list[Prompt]:
    """Two-concept prompts from the dataset's heldout_pairs.jsonl. Raises DatasetError where it cannot be read.

    The first answer of each is its own two components. Each may also be a homonym of it in `rows`, those that are
    trained on: a prompt says "ward", not which of 区 and 區. `spelled` ones do: "⿰ boat 舟, water 水".
    """
    path, named_alike = folder / "heldout_pairs.jsonl", homonyms(rows)
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines() if line.strip()]
        pairs = [_pair(line, _with_homonyms(line["components"], named_alike), spelled) for line in lines]
    except FileNotFoundError:
        raise DatasetError(f"{path}: not there. It comes with composed characters: "
                           "python dataExtraction/main.py --compose 20000") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None
    return random.Random(seed).sample(pairs, min(count, len(pairs)))


def wild_prompts(count: int | None, path: Path = WILD) -> list[Prompt]:
    """The prompts of a file: a prompt a line, then a tab and the components of which any would fit."""
    return [Prompt(text, (fitting,) if fitting else (), any_fits=True) for text, fitting in read_fitting(path)[:count]]


def plans_prompts(count: int | None) -> list[Prompt]:
    """The words that no model was trained on, in the order of the file."""
    return [Prompt(word) for word in read_prompts(PLANS)[:count]]


def planned(prompts: Sequence[Prompt], planner: Planner, drawn: DrawnComponents | None) -> list[Prompt]:
    """The same prompts with the plans that generate.py would make of their words, for a model that draws so well.

    One that has a plan already keeps it.
    """
    return [prompt if prompt.plans else
            replace(prompt, plans=tuple(best_drawn_first(planner.plans(prompt.text, MAX_PLANS), drawn)))
            for prompt in prompts]


def budget_prompts(rows: Sequence[Row], count: int, seed: int) -> list[Prompt]:
    """Known meanings with a number of strokes chosen among the stroke counts of the Jouyou kanji."""
    rng = random.Random(seed + 1)
    counts = sorted(jouyou_strokes(rows)) or [8]
    return [replace(prompt, strokes=rng.choice(counts), answers=(), literals=())
            for prompt in known_prompts(rows, count, seed + 1)]


def jouyou_strokes(rows: Sequence[Row]) -> list[int]:
    """The stroke counts of the real characters that have a grade."""
    return [row.strokes for row in rows if not row.is_composed and row.metadata.get("grade") and row.strokes]


def _pair(line: dict, answers: tuple[frozenset[str], ...], spelled: bool) -> Prompt:
    if not spelled:
        return Prompt(line["text"], answers)
    named = ((component["meaning"], form_of(component)) for component in line["components"])
    text = components_caption(named, LAYOUTS.get(line["components"][0].get("position"), ""))
    plan = Plan.spelled(text)
    return Prompt(text, answers, plans=(plan,) if plan else ())


def _with_homonyms(components: Sequence[dict], named_alike: Mapping[str, frozenset[str]]) -> tuple[frozenset[str], ...]:
    """The components' meaning forms, then these with a homonym in the place of one or more of them."""
    forms = [form_of(component) for component in components]
    others = [sorted(forms_alike(component, named_alike) - {form})
              for component, form in zip(components, forms, strict=True)]
    choices = itertools.product(*([form, *more] for form, more in zip(forms, others, strict=True)))
    return tuple(dict.fromkeys(map(frozenset, choices)))


def _of_meanings(meanings: Sequence[str], rows: Sequence[Row]) -> list[Prompt]:
    bearers: dict[str, list[Row]] = {}
    for row in rows:
        if not row.is_composed:
            for caption in row.captions:
                bearers.setdefault(caption, []).append(row)
    return [Prompt(meaning, tuple(dict.fromkeys(row.forms for row in bearers[meaning])),
                   tuple(row.metadata.get("literal") or "" for row in bearers[meaning])) for meaning in meanings]
