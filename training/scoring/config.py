"""The settings of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common.settings import setting
from generation.settings import SamplingSettings

SETS = ("known", "heldout", "pairs", "wild", "budget", "plans")  # each with a number of prompts in the settings
# The same words as in another set, planned.
PLANNED_AGAIN = {"pairs_planned": "pairs", "wild_planned": "wild", "heldout_planned": "heldout",
                 "known_planned": "known"}
PLANNED_SETS = ("plans", "pairs_spelled", *PLANNED_AGAIN)
QUICK_PROMPTS = 24


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(SamplingSettings):
    """Settings of an evaluation; image k of a prompt has `--seed` + k, which also decides what prompts are chosen."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder of dataExtraction/main.py."""
    output: Path = Path("report")
    """The folder for report.json and report.html."""
    known: int = setting(300, at_least=0)
    """Prompts of the set `known`; 0 leaves it out. Two seeds each."""
    heldout: int = setting(1000, at_least=0)
    """Meanings of held-out kanji, at most; there are about 860. One seed each."""
    pairs: int = setting(300, at_least=0)
    """Two-concept prompts. Two seeds each."""
    wild: int = setting(109, at_least=0)
    """Prompts of the modern world. Four seeds each."""
    budget: int = setting(150, at_least=0)
    """Known meanings with a number of strokes. One seed each."""
    plans: int = setting(200, at_least=0)
    """Words that no model was trained on, planned. Two seeds each."""
    plan: Literal["on", "off"] = "on"
    """Also score `known`, `heldout` and `wild` with the words planned; `off` leaves out all planned sets."""
    guess: bool = True
    """Also let WordNet guess the words from the components found."""
    wordnet: Path | None = None
    """WordNet 3.0's dict folder; by default Debian's package of it, unpacked into runs/planner."""
    composed_plans: Path | None = None
    """A folder of the same plans composed without a model, to compare with; the report's page has the command."""
    best_of: int = setting(1, at_least=1)
    """Also sample this many for prompts of `wild`, `pairs` and `plans` and score what is chosen; 1 leaves it out."""
    best_of_prompts: int = setting(60, at_least=1)
    """Prompts of each of these sets that are sampled so often."""
    quick: bool = False
    """A small evaluation: at most 24 prompts a set."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        if not any(getattr(self, name) for name in SETS if self.plan == "on" or name not in PLANNED_SETS):
            raise ValueError("every set is left out; there is nothing to score")
        if self.composed_plans is not None and self.plan == "off":
            raise ValueError("--composed_plans: is for plans, where --plan off wants none")

    def resolved(self) -> EvaluateConfig:
        """The same settings with the counts that --quick stands for."""
        if not self.quick:
            return self
        return replace(self, **{name: min(getattr(self, name), QUICK_PROMPTS) for name in SETS},
                       best_of_prompts=min(self.best_of_prompts, QUICK_PROMPTS // 2))
