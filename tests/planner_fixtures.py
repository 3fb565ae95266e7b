"""A planner of the four components of recogniser_fixtures, whose network finds in words the components they name."""

from __future__ import annotations

from pathlib import Path

import torch

from planner.components import Components
from planner.network import PlannerNetwork, TermWeights, save_planner
from planner.planner import Planner
from planner.text import SentenceEncoder
from recogniser_fixtures import MEANINGS, STROKES

SLOTS = {"口": {"left": 9, "top": 1, "whole": 1}, "十": {"right": 8, "bottom": 2, "whole": 1},
         "二": {"top": 9, "left": 1, "whole": 1}, "人": {"bottom": 8, "right": 3, "whole": 1}}
OTHER_NAMES = {"口": ("opening",), "十": ("cross",), "二": (), "人": ("human being",)}
EXISTING = ("口十",)  # 叶, and nothing is planned that exists


def components() -> Components:
    """The table of the four; "mouth" is the meaning of 口 itself, "two people" of one of two."""
    return Components(
        planned=len(MEANINGS), forms=tuple(MEANINGS),
        names=tuple((MEANINGS[form], *OTHER_NAMES[form]) for form in MEANINGS),
        uses=(40, 30, 20, 10), slots=tuple(SLOTS[form] for form in MEANINGS),
        strokes=tuple(dict.fromkeys(SLOTS[form], STROKES[form]) for form in MEANINGS),
        existing_pairs=frozenset("".join(sorted(pair)) for pair in EXISTING), alike_pairs=frozenset(),
        meanings={"mouth": "口", "two people": "仁"}, kanji={"口": ("口", 3), "仁": ("⿱二人", 4)})


def save_small_planner(folder: Path, min_confidence: float = 0.0) -> Path:
    """Save one as a folder. Its other terms are zero: components are scored by their names' likeness to the words."""
    table = components()
    network = PlannerNetwork(table.names, TermWeights())
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        network.name_embeddings.copy_(SentenceEncoder()([name for names in table.names for name in names]))
    save_planner(folder, network, table, {"confidence": [4.0, -3.0], "min_confidence": min_confidence})
    return folder


def load_small_planner(folder: Path, names: Path | None = None) -> Planner:
    """Save one and load it."""
    return Planner.load(save_small_planner(folder), names)
