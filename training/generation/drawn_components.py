"""How well a model draws each component: a table that lies beside it, measured by measure_components.py.

Of plans that are nearly as good the one is taken whose components the model draws well; the plans themselves do not
depend on any model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import write_text
from common.paths import model_dir
from planner.plan import Plan

TABLE = "drawn_components.json"
ASKED_BEFORE = 4  # as many images are added to each component's, of which as many show it as of all components'


@dataclass(frozen=True)
class DrawnComponents:
    """Of each component, by meaning form, in how many images it was asked for, and in how many of these it is found."""

    asked: Mapping[str, int]
    found: Mapping[str, int]

    def probability(self, form: str) -> float:
        """How likely a component is drawn where it is asked for, 0 to 1; of one that was not measured, as most are."""
        mean = sum(self.found.values()) / max(1, sum(self.asked.values()))
        return (self.found.get(form, 0) + ASKED_BEFORE * mean) / (self.asked.get(form, 0) + ASKED_BEFORE)

    def probability_of(self, plan: Plan) -> float:
        """How likely all components of a plan are drawn, 0 to 1."""
        probability = 1.0
        for one in plan.components:
            probability *= self.probability(one.form)
        return probability

    def save(self, model: str) -> Path:
        """Write the table of a model, where `of_model` finds it; returns its path."""
        content = {form: [self.found.get(form, 0), asked] for form, asked in sorted(self.asked.items())}
        path = model_dir(model) / TABLE
        write_text(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
        return path

    @classmethod
    def of_model(cls, model: str) -> DrawnComponents | None:
        """The table of `tiny`, a run folder or a pipeline folder; None of a model that was not measured.

        Raises UserError where the table is not whole.
        """
        path = model_dir(model) / TABLE
        if not path.is_file():
            return None
        try:
            stored = {form: (int(found), int(asked))
                      for form, (found, asked) in json.loads(path.read_text(encoding="utf8")).items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: no table of drawn components ({error}); remove it, or measure it anew with: "
                            "python training/measure_components.py") from None
        return cls({form: asked for form, (_, asked) in stored.items()},
                   {form: found for form, (found, _) in stored.items()})
