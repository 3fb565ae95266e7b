"""Which components fit which: what training/train_planner.py asks, so that it plans what can be composed.

One JSON object a line, UTF-8, of each component that stands first:

    {"slots": ["left", "right"], "first": "水", "second": "馬車..."}

`first` and `second` are meaning forms (水 for 氵); `second` has all that fit beside, below or within the first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arrangements import ARRANGEMENTS
from compose import Composer
from compose_plans import PlanComposer
from errors import UserError
from files import replacing
from progress import progress_bar

MIN_USES = 3  # train kanji of two components that have a form, for it to be listed


def fitting_forms(composer: Composer, min_uses: int = MIN_USES) -> Iterator[dict[str, Any]]:
    """The lines of the file. Whether a kanji has two components already, or they are held out as a pair, is no matter.

    What is held out as a pair must not be told from what does not fit.
    """
    uses: Counter[str] = Counter()
    for pools in composer.pools.values():
        for pool in pools:
            for (_, form), placed in pool.items():
                uses[form] += len(placed)
    plans = PlanComposer(composer)
    known = {form for form, count in uses.items() if count >= min_uses}
    asked = [(arrangement, first, sorted(known.intersection(seconds)))
             for arrangement in ARRANGEMENTS for firsts, seconds in [plans.forms(arrangement)]
             for first in sorted(known.intersection(firsts))]
    with progress_bar(desc="fitting", unit="pair", total=sum(len(seconds) for *_, seconds in asked)) as bar:
        for arrangement, first, seconds in asked:
            fitting = [second for second in seconds if second != first and plans.fits(arrangement, first, second)]
            yield {"slots": [arrangement.first, arrangement.second], "first": first, "second": "".join(fitting)}
            bar.update(len(seconds))


def write_fits(path: Path, composer: Composer) -> int:
    """Write the file, whole or not at all; returns how many pairs of it fit. Raises UserError where it cannot be."""
    lines = list(fitting_forms(composer))
    try:
        with replacing(path) as temporary:
            temporary.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
                                 encoding="utf-8")
    except OSError as error:
        raise UserError(f"--fits {path}: cannot be written ({error.strerror})") from None
    return sum(len(line["second"]) for line in lines)
