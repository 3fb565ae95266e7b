"""Both sources, paired and composed -> all that a dataset is to hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compose import Composer
from compose_evenly import compose_evenly
from compose_plans import HELD_OUT_CAPTION, HeldOutCaptions, NamedCharacter, PlanComposer, check_forms
from errors import UserError
from held_out import is_held_out
from kanjidic import Kanji, read_kanjidic
from kanjivg_reader import Glyph, read_kanjivg
from options import Options
from plans import Plan, PlanFile
from progress import progress_bar
from rows import Row, composed_row, held_out_pair_row, named_row, real_row, usable_kanji, without_word

MAX_HELD_OUT_PAIRS = 2000  # rows of heldout_pairs.jsonl


@dataclass
class Contents:
    """What is to be drawn, what is held out, and what is left out."""

    rows: list[Row]
    held_out_pairs: list[dict[str, Any]] = field(default_factory=list)  # rows of heldout_pairs.jsonl
    rejected: dict[str, str] = field(default_factory=dict)  # character or file name -> reason
    rejected_words: dict[str, str] = field(default_factory=dict)  # word of a plan -> reason
    rearranged: list[str] = field(default_factory=list)  # words whose components stand in other slots than planned


def read_contents(
    kanjidic_file: Path, kanjivg_files: list[tuple[str, bytes]], options: Options, names: PlanFile | None = None
) -> Contents:
    """Read both sources, pair them, and compose new characters, last those for the words of `names`.

    Raises UserError where a source cannot be read, or nothing usable is in them, or a form of `names` is in no
    character.
    """
    kanji, glyphs, rejected = _read_sources(kanjidic_file, kanjivg_files, options, names)
    usable, unusable = usable_kanji(kanji, glyphs, options.limit)
    rejected = unusable | rejected
    if not usable:
        raise UserError("no kanji has both a meaning and a drawing: " + some_reasons(rejected))
    rows = [real_row(kanji[literal], glyphs[literal], kanji, options.language) for literal in usable]
    contents = Contents(rows, rejected=rejected)
    if options.compose or names:
        composer = Composer(glyphs, kanji, usable, options.language)
        if options.compose:
            _compose(contents, composer, options)
        if names:
            contents.rows = list(map(without_word, contents.rows))
            _compose_names(contents, names, composer, _held_out_captions(contents, kanji, glyphs))
    return contents


def read_plan_contents(
    kanjidic_file: Path, kanjivg_files: list[tuple[str, bytes]], options: Options, plans: PlanFile
) -> Contents:
    """Read both sources, and compose the characters of the plans, whatever is held out.

    Raises UserError as read_contents does, and where no plan can be composed.
    """
    composer = PlanComposer(read_composer(kanjidic_file, kanjivg_files, options, plans))
    contents = Contents([])
    _compose_plans(contents, plans, composer.compose)
    if not contents.rows:
        raise UserError(f"{plans.path}: no plan of it can be composed: " + some_reasons(contents.rejected_words))
    return contents


def read_composer(
    kanjidic_file: Path, kanjivg_files: list[tuple[str, bytes]], options: Options, plans: PlanFile | None = None
) -> Composer:
    """Read both sources for their components alone. Raises UserError as read_contents does."""
    kanji, glyphs, _ = _read_sources(kanjidic_file, kanjivg_files, options, plans)
    usable, _ = usable_kanji(kanji, glyphs, options.limit)
    return Composer(glyphs, kanji, usable, options.language)


def _read_sources(
    kanjidic_file: Path, kanjivg_files: list[tuple[str, bytes]], options: Options, plans: PlanFile | None
) -> tuple[dict[str, Kanji], dict[str, Glyph], dict[str, str]]:
    """All of KANJIDIC2, all of KanjiVG, and why each file of it that gives no glyph does not.

    Raises UserError where a source cannot be read, or a plan asks for a form that is in no character.
    """
    kanji = read_kanjidic(kanjidic_file, options.language)
    glyphs, broken = read_kanjivg(kanjivg_files)
    if plans:
        check_forms(plans, glyphs.values())
    return kanji, glyphs, broken


def _compose(contents: Contents, composer: Composer, options: Options) -> None:
    """Add the composed characters and the held-out pairs."""
    with progress_bar(desc="composing", unit="character", total=options.compose) as bar:
        asked = (options.compose, options.seed, bar.update, options.least_common)
        if options.evenness is None:
            composed = composer.compose(*asked)
        else:
            composed = compose_evenly(composer, *asked, options.evenness, options.shapes)
    if len(composed) < options.compose:
        print(f"composed {len(composed):,} of {options.compose:,}: no more fit" + _more(options))
    contents.rows += map(composed_row, composed)
    pairs = composer.held_out_pairs(MAX_HELD_OUT_PAIRS, options.seed, composed)
    contents.held_out_pairs += map(held_out_pair_row, pairs)


def _more(options: Options) -> str:
    """What to do for more characters, as the end of a message."""
    return ". More: --evenness 1 --shapes 24" if options.evenness is None or options.shapes < 24 else ""


def _compose_names(contents: Contents, names: PlanFile, composer: Composer, held_out: HeldOutCaptions) -> None:
    """Add the characters of the names, without what is held out."""
    plan_composer = PlanComposer(composer)

    def compose(plan: Plan) -> NamedCharacter | str:
        outcome = plan_composer.held_out_reason(plan) or plan_composer.compose(plan)
        if isinstance(outcome, NamedCharacter) and held_out.has(outcome.character):
            return HELD_OUT_CAPTION
        return outcome

    _compose_plans(contents, names, compose)


def _compose_plans(contents: Contents, file: PlanFile, compose: Callable[[Plan], NamedCharacter | str]) -> None:
    """Add what `compose` makes of each plan: a row, or the reason why there is none."""
    for plan in progress_bar(file.plans, desc="composing", unit="plan"):
        outcome = compose(plan)
        if isinstance(outcome, str):
            contents.rejected_words[plan.word] = outcome
            continue
        contents.rows.append(named_row(outcome))
        if not outcome.as_planned:
            contents.rearranged.append(plan.word)


def _held_out_captions(contents: Contents, kanji: dict[str, Kanji], glyphs: dict[str, Glyph]) -> HeldOutCaptions:
    """Those of every held-out kanji, also of one beyond --limit, and of the held-out pairs."""
    held_out = (kanji[literal] for literal in glyphs if literal in kanji and is_held_out(literal))
    return HeldOutCaptions.of((meaning for entry in held_out for meaning in entry.meanings), contents.held_out_pairs)


def some_reasons(rejected: dict[str, str]) -> str:
    """The first three reasons, for a message."""
    return "; ".join(f"{name}: {reason}" for name, reason in list(rejected.items())[:3])
