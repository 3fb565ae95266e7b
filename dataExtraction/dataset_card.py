"""The dataset's card: README.md with Hugging Face front matter, columns, counts, licences and attributions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_FRONT_MATTER = """\
---
pretty_name: {title}
language:
- {language}
- ja
license: cc-by-sa-4.0
task_categories:
- text-to-image
size_categories:
- {size_category}
tags:
- kanji
- calligraphy
configs:
- config_name: default
  data_files:
  - split: train
    path: train/**
{test_split}---

# {title}
"""
_TEST_SPLIT = "  - split: test\n    path: test/**\n"
_CARD = """
Pictures of {real} real kanji, captioned with their meanings, and of {composed} composed characters, which put a
component of one real kanji beside a component of another and are captioned with both meanings.
{named_rows}8-bit grey PNG, {size} x {size} px, black ink on white.

| split | rows | what |
| --- | --- | --- |
| train | {train} | real kanji, and all composed{and_named} characters |
| test | {test} | about 5 % of the real kanji, chosen by a hash of the code point; never to be trained on |

```python
from datasets import load_dataset
dataset = load_dataset("imagefolder", data_dir="path/to/this/folder")
```

A script that takes every picture below its `train_data_dir` (the diffusers text-to-image script does) must be given
the folder `train`, or it trains on the test split too.

## Columns

| column | what |
| --- | --- |
| `file_name` | the picture; real kanji are named by code point, as KanjiVG names its files |
| `text` | one caption: the main meaning, or both meanings of a composed character{or_word} |
| `captions` | all captions, each enough by itself |
| `literal` | the kanji; empty for a composed character |
| `strokes` | strokes in the picture (KanjiVG's, which for about a hundred kanji differ from KANJIDIC2's count) |
| `grade` | 1-6 primary school, 8 secondary school, 9-10 names; null: none of these |
| `frequency` | rank in newspapers, 1 to 2501; null: not among these |
| `radical` | number of the classical radical, 1-214; null for a composed character |
| `components` | list of `element` (the shape, 氵), `original` (its meaning form, 水), `meaning` or empty, `position` |
| `kind` | {kinds} |
| `ids` | ideographic description sequence such as ⿰氵馬, where the character is two named components; else empty |
{word_column}
Positions are KanjiVG's: left, right, top, bottom; tare, nyo and kamae with their contents tarec, nyoc and kamaec;
empty where KanjiVG names none. Where a slot has no name of its own the named components within it are listed, such
as right/top. A kanji without components lists itself.

No composed character has the component pair of any kanji in KanjiVG in the same slots, nor that of a test kanji in
any. Its components come from train kanji; a test kanji may be such a component, in a train kanji's slot and under its
own name, but is never shown whole. `heldout_pairs.jsonl` lists {pairs} pairs of common components that are never
composed (5 % of all pairs are kept out, by a hash of the pair): prompts to test a model with.
{named_rules}"""
_SOURCES = """
## Sources and licences

{sources}{plans_source}
- The strokes and the tree of components are from **KanjiVG**, copyright (C) 2009-2026 Ulrich Apel and contributors,
  licensed [CC BY-SA 3.0](https://creativecommons.org/licenses/by-sa/3.0/), https://kanjivg.tagaini.net. Rendered as
  pictures, and recombined in the composed characters.
- The meanings, grades, frequencies and radicals are from **KANJIDIC2**, copyright (C) James William Breen and The
  Electronic Dictionary Research and Development Group, licensed
  [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/), https://www.edrdg.org/wiki/index.php/KANJIDIC_Project.
  Remarks in parentheses and the names of radicals were removed.
{words_source}
This dataset is an adaptation of {both} and may be shared under CC BY-SA 4.0, with these attributions.
"""
_WORDS_SOURCE = """\
- The words and what they are composed of come with the file of plans. Those of dataExtraction/names.jsonl come from
  **WordNet 3.0** (Princeton University), see NOTICE, and from names of the modern world of this project's own list.
"""
# What the card says where there are no named characters, and where there are.
_WITHOUT_NAMED = dict.fromkeys(("named_rows", "and_named", "or_word", "word_column", "named_rules"), "")
_WITHOUT_NAMED |= {"kinds": "`real` or `composed`"}
_WITH_NAMED = {
    "named_rows": "{named} more are named: composed for a word, of two components that a plan gives it.\n",
    "and_named": " and named",
    "or_word": ", or the word of a named one",
    "kinds": "`real`, `composed` or `named`",
    "word_column": "| `word` | the word that a named character is composed for; empty for any other |\n",
    "named_rules": """
A named character (`kind` is `named`) is composed as the others are, but for a word, such as "submarine" of boat and
water. Its components are those that a file of plans gives the word, in the slots planned or, where they do not fit
there, in others ({rearranged} characters). Its captions are the word and the names of its components. None has the
components of a held-out kanji or of a held-out pair, and none has a caption of theirs. `manifest.json` lists the words
that were left out, with the reason.
""",
}
_PLANS_CARD = """
Pictures of {named} characters, each composed for a word: of the two components that a file of plans asks for, as they
stand in real kanji. Of its {plans} plans {left_out} could not be composed; `manifest.json` lists them, with the reason.
{rearranged} characters have their components in other slots than planned, because they did not fit in those.
8-bit grey PNG, {size} x {size} px, black ink on white.

These are for comparison with what a model draws of the same plans. Held-out pairs are among them: not to be trained on.

## Columns

| column | what |
| --- | --- |
| `file_name` | the picture |
| `text` | the word |
| `captions` | the word, and the names of the two components |
| `literal`, `grade`, `frequency`, `radical` | empty or null, as for any character that is not a real kanji |
| `strokes` | strokes in the picture |
| `components` | list of `element` (the shape, 氵), `original` (its meaning form, 水), `meaning` and `position` |
| `kind` | `named` |
| `ids` | ideographic description sequence such as ⿰氵馬 |
| `word` | the word |
"""
# The hub's size categories, each with the number of rows that is beyond it.
_SIZE_CATEGORIES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def write_card(folder: Path, manifest: dict[str, Any], pairs: int) -> None:
    """Write README.md from the manifest; `pairs` is the number of rows of heldout_pairs.jsonl. Raises OSError."""
    values = manifest["options"] | manifest["counts"] | {"pairs": pairs}
    said = _WITH_NAMED if "named" in values else _WITHOUT_NAMED
    values |= {name: text.format_map(values) for name, text in said.items()}
    _write(folder, manifest, _CARD.format_map(values), "Kanji with meanings", _TEST_SPLIT)


def write_plans_card(folder: Path, manifest: dict[str, Any]) -> None:
    """Write README.md of the characters of a file of plans, from the manifest. Raises OSError."""
    values = manifest["options"] | manifest["counts"]
    left_out = sum(map(len, manifest["rejected"].values()))
    text = _PLANS_CARD.format_map(values | {"left_out": left_out, "plans": left_out + values["named"]})
    _write(folder, manifest, text, "Characters composed for words")


def _write(folder: Path, manifest: dict[str, Any], text: str, title: str, test_split: str = "") -> None:
    """Write the card's own text between the front matter and the sources. Raises OSError."""
    options = manifest["options"]
    plans_sha256 = options.get("plans_sha256") or options.get("names_sha256")
    rows = sum(manifest["counts"].get(split, 0) for split in ("train", "test"))
    front_matter = _FRONT_MATTER.format(
        title=title,
        language=options["language"],
        size_category=next(category for limit, category in _SIZE_CATEGORIES if rows < limit),
        test_split=test_split,
    )
    sources = _SOURCES.format(
        sources="".join(
            f"- {s['name']} {s['version']} ({s['date']}), SHA-256 `{s['sha256']}`\n" for s in manifest["sources"]
        ),
        plans_source=f"- The plans, SHA-256 `{plans_sha256}`\n" if plans_sha256 else "",
        words_source=_WORDS_SOURCE if plans_sha256 else "",
        both="these" if plans_sha256 else "both",
    )
    (folder / "README.md").write_text(front_matter + text + sources, encoding="utf-8")
