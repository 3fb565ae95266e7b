"""What the page remembers of one visitor, and what each of his clicks makes of that; without gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from page.cards import Card, cards_of
from page.config import Wish
from page.plan_row import PlanRow
from page.studio import Drawn, Studio

MAX_HISTORY = 24  # characters of a visit that are kept, the best of each draw


@dataclass(frozen=True)
class Visit:
    """One visitor's plans, what he drew last (a group of cards for each prompt), and what he drew before.

    strokeless: what he drew last, for which no strokes were looked for yet.
    """

    rows: tuple[PlanRow, ...] = ()
    groups: tuple[tuple[Card, ...], ...] = ()
    history: tuple[Card, ...] = ()
    strokeless: tuple[Drawn, ...] = ()

    @property
    def lacks_strokes(self) -> bool:
        """Whether strokes are still to be looked for."""
        return any(drawn.is_line_art for drawn in self.strokeless)

    def planned(self, studio: Studio, wish: Wish, texts: Sequence[Sequence[object]]) -> tuple[Visit, list[str]]:
        """The visit with the plans for a wish, and what is to be said of them. Raises UserError."""
        rows, notes = studio.plan(wish, self._typed(studio, wish, texts))
        return replace(self, rows=tuple(rows)), notes

    def swapped(self, studio: Studio, model: str, row: int, box: int,
                texts: Sequence[Sequence[object]]) -> tuple[Visit, list[str]]:
        """The visit with the planner's next best in a box of one of its rows. Raises UserError."""
        if row >= len(self.rows):
            return self, []
        rows = list(self.rows)
        rows[row] = studio.change(rows[row], texts[row], model, swap=box)
        return replace(self, rows=tuple(rows)), []

    def drawn(self, studio: Studio, wish: Wish, texts: Sequence[Sequence[object]],
              on_step: Callable[[int, int], object] = lambda done, of: None) -> tuple[Visit, list[str]]:
        """The visit with what was drawn for a wish, by the plans as they stand in the boxes. Raises UserError."""
        rows, drawn, notes = studio.draw(wish, self._typed(studio, wish, texts), on_step)
        groups = tuple(tuple(cards_of(one)) for one in drawn)
        return Visit(tuple(rows), groups, _remembered(groups, self.history), tuple(drawn)), notes

    def with_strokes(self, studio: Studio) -> Visit:
        """The visit with the strokes of the best of what was drawn last. Raises NoStrokesError."""
        if not self.strokeless:
            return self
        groups = tuple((Card.of(drawn.best, drawn, studio.strokes(drawn)), *group[1:])
                       for drawn, group in zip(self.strokeless, self.groups, strict=True))
        return Visit(self.rows, groups, _remembered(groups, self.history[len(groups):]))

    def joined(self, found: Visit) -> Visit:
        """The visit with the strokes that `found` has for what was drawn last; as it is where more was drawn since."""
        drawn, looked_at = ([(group[0].command, group[0].png) for group in one.groups] for one in (self, found))
        if drawn != looked_at or not self.strokeless:
            return self
        return replace(self, groups=found.groups, strokeless=(),
                       history=_remembered(found.groups, self.history[len(found.groups):]))

    def _typed(self, studio: Studio, wish: Wish, texts: Sequence[Sequence[object]]) -> list[PlanRow]:
        """The rows of the wish's words, with what was typed into their boxes."""
        return [studio.change(row, typed, wish.model) for row, typed in zip(self.rows, texts, strict=False)
                if row.words in wish.prompts]


def _remembered(groups: Sequence[Sequence[Card]], before: Sequence[Card]) -> tuple[Card, ...]:
    """The best of what was drawn last, the latest first, and what was drawn before."""
    return (*(group[0] for group in groups[::-1]), *before)[:MAX_HISTORY]
