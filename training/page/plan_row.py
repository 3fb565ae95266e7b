"""The plan of some words as the page shows it: two boxes of words, each of which can be swapped or typed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import UserError
from page.config import MAX_LETTERS, clean
from planner.plan import Plan, PlannedComponent
from planner.planner import Planner, PlannerError

BOXES = 2
MAX_SWAPS = 12  # the planner's next best that swapping goes through, and then begins again
EMPTY_LABELS = ("First part", "Second part")


@dataclass(frozen=True)
class PlanRow:
    """The plan for some words, in boxes.

    plan: None where the words are drawn as they are; order: for each box that is full, which of the plan's components
    is in it; is_own: whether the visitor has changed it: then it stays as it is, whatever the seed.
    """

    words: str
    plan: Plan | None
    order: tuple[int, ...] = ()
    is_own: bool = False

    @classmethod
    def planned(cls, words: str, plan: Plan | None) -> PlanRow:
        """As the planner has it. A kanji of more than two components has no boxes."""
        count = 0 if plan is None else len(plan.components)
        return cls(words, plan, tuple(range(count)) if count <= BOXES else ())

    @property
    def components(self) -> tuple[PlannedComponent, ...]:
        """The components in the order of their boxes."""
        return tuple(self.plan.components[index] for index in self.order)

    @property
    def texts(self) -> tuple[str, str]:
        """What stands in the boxes: the components' names, or their forms where they have none."""
        texts = [one.name or one.form for one in self.components]
        return tuple(texts + [""] * (BOXES - len(texts)))

    @property
    def labels(self) -> tuple[str, str]:
        """What stands over the boxes: where the component is and its form, as in "left 舟"."""
        labels = [str(PlannedComponent(one.form, "", one.slot)) for one in self.components]
        return tuple(label[:1].upper() + label[1:] for label in [*labels, *EMPTY_LABELS[len(labels):]])

    def typed(self, texts: Sequence[object], planner: Planner) -> PlanRow:
        """The row with what the visitor typed over it. Two empty boxes are the planner's own plan again.

        Raises UserError naming a component that does not exist, with some that are spelled nearly alike.
        """
        texts = tuple(map(clean, texts))
        if texts == self.texts:
            return self
        forms = [component.form for component in self.components]
        forms += [""] * (BOXES - len(forms))
        names = [form if text == shown else text for text, shown, form in zip(texts, self.texts, forms, strict=True)]
        names = [name[:MAX_LETTERS] for name in names if name]
        return self._with(names, planner) if names else PlanRow(self.words, None)

    def swapped(self, box: int, planner: Planner) -> PlanRow:
        """The row with the planner's next best in a box, the other box as it is; after MAX_SWAPS it begins again."""
        forms = [component.form for component in self.components]
        other = next(iter(forms[:box] + forms[box + 1:]), None)
        choices = planner.partners(self.words, other, MAX_SWAPS)
        if not choices:
            return self
        current = forms[box] if box < len(forms) else None
        position = choices.index(current) + 1 if current in choices else 0
        following = choices[position % len(choices)]
        if other is None:
            return self._with([following], planner)
        return self._with([following, other] if box == 0 else [other, following], planner)

    def _with(self, names: Sequence[str], planner: Planner) -> PlanRow:
        try:
            plan = planner.given(names, self.words)
            first = planner.given(names[:1]).components[0].form
        except PlannerError as error:
            raise UserError(str(error).removeprefix("--parts: ")) from None
        order = range(len(plan.components))
        return PlanRow(self.words, plan, tuple(order if plan.components[0].form == first else reversed(order)), True)
