"""What the page remembers of one visitor, and what each of his clicks makes of that; without gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from page.cards import Card, cards_of
from page.config import Wish
from page.plan_row import PlanRow
from page.studio import Studio

MAX_HISTORY = 24  # characters of a visit that are kept, the best of each draw


@dataclass(frozen=True)
class Visit:
    """One visitor's plans, what he drew last (a group of cards for each prompt), and what he drew before."""

    rows: tuple[PlanRow, ...] = ()
    groups: tuple[tuple[Card, ...], ...] = ()
    history: tuple[Card, ...] = ()

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
        latest = tuple(group[0] for group in groups)
        return Visit(tuple(rows), groups, (*latest[::-1], *self.history)[:MAX_HISTORY]), notes

    def _typed(self, studio: Studio, wish: Wish, texts: Sequence[Sequence[object]]) -> list[PlanRow]:
        """The rows of the wish's words, with what was typed into their boxes."""
        return [studio.change(row, typed, wish.model) for row, typed in zip(self.rows, texts, strict=False)
                if row.words in wish.prompts]
