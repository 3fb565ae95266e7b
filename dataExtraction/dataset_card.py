"""The dataset card: README.md with Hugging Face front matter, columns, counts, licences and attributions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_CARD = """\
---
pretty_name: Kanji with meanings
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
  - split: test
    path: test/**
---

# Kanji with meanings

Pictures of {real} real kanji, captioned with their meanings, and of {composed} composed characters, which put a
component of one real kanji beside a component of another and are captioned with both meanings.
8-bit grey PNG, {size} x {size} px, black ink on white.

| split | rows | what |
| --- | --- | --- |
| train | {train} | real kanji, and all composed characters |
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
| `text` | one caption: the main meaning, or both meanings of a composed character |
| `captions` | all captions, each enough by itself |
| `literal` | the kanji; empty for a composed character |
| `strokes` | strokes in the picture (KanjiVG's, which for about a hundred kanji differ from KANJIDIC2's count) |
| `grade` | 1-6 primary school, 8 secondary school, 9-10 names; null: none of these |
| `frequency` | rank in newspapers, 1 to 2501; null: not among these |
| `radical` | number of the classical radical, 1-214; null for a composed character |
| `components` | list of `element` (the shape, 氵), `original` (its meaning form, 水), `meaning` or empty, `position` |
| `kind` | `real` or `composed` |
| `ids` | ideographic description sequence such as ⿰氵馬, where the character is two named components; else empty |

Positions are KanjiVG's: left, right, top, bottom; tare, nyo and kamae with their contents tarec, nyoc and kamaec;
empty where KanjiVG names none. Where a slot has no name of its own the named components within it are listed, such
as right/top. A kanji without components lists itself.

No composed character has the component pair of any kanji in KanjiVG in the same slots, nor that of a test kanji in
any. Its components come from train kanji; a test kanji may be such a component, in a train kanji's slot and under its
own name, but is never shown whole. `heldout_pairs.jsonl` lists {pairs} pairs of common components that are never
composed (5 % of all pairs are kept out, by a hash of the pair): prompts to test a model with.

## Sources and licences

{sources}
- The strokes and the tree of components are from **KanjiVG**, copyright (C) 2009-2026 Ulrich Apel and contributors,
  licensed [CC BY-SA 3.0](https://creativecommons.org/licenses/by-sa/3.0/), https://kanjivg.tagaini.net. Rendered as
  pictures, and recombined in the composed characters.
- The meanings, grades, frequencies and radicals are from **KANJIDIC2**, copyright (C) James William Breen and The
  Electronic Dictionary Research and Development Group, licensed
  [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/), https://www.edrdg.org/wiki/index.php/KANJIDIC_Project.
  Remarks in parentheses and the names of radicals were removed.

This dataset is an adaptation of both and may be shared under CC BY-SA 4.0, with these attributions.
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
    counts, options = manifest["counts"], manifest["options"]
    rows = counts["train"] + counts["test"]
    sources = "".join(
        f"- {s['name']} {s['version']} ({s['date']}), SHA-256 `{s['sha256']}`\n" for s in manifest["sources"]
    )
    text = _CARD.format(
        **counts,
        language=options["language"],
        size=options["size"],
        size_category=next(category for limit, category in _SIZE_CATEGORIES if rows < limit),
        pairs=pairs,
        sources=sources,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
