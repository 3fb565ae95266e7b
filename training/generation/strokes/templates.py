"""Which components of real kanji a drawn character looks like: every one in every slot is laid over it as it stands.

A drawn component stands about where it stands in some real kanji, so that the distance between strokes and ink tells
the right one; what was planned is preferred where two are alike, as 日 and 曰 are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from generation.strokes.curves import ROUGH, SPACING, curve_points, rough_points
from generation.strokes.ink import CAP, Ink
from generation.strokes.kanjivg import Group, Kanji
from planner.components import ARRANGEMENTS

CONTENTS = dict(ARRANGEMENTS[2:])  # what the slot within an enclosure is called
WHOLE = "whole"
WEIGHED = 80  # components of a slot that are laid over the ink together with those of the other slot
PLANNED = 0.35  # units by which a planned component may fit worse than another


@dataclass(frozen=True)
class Component:
    """A component as it stands in a slot of one real kanji, or (slot "whole") all of a kanji.

    groups: its groups in KanjiVG, more than one where other strokes are drawn between them; strokes: their control
    points, in drawing order; indices: what the groups call them; first: how many of them are drawn before those of the
    component in the other slot.
    """

    source: str
    slot: str
    groups: tuple[Group, ...]
    strokes: tuple[np.ndarray, ...]
    indices: tuple[int, ...]
    first: int

    @property
    def forms(self) -> frozenset[str]:
        """What KanjiVG calls it: its shape and its meaning form."""
        return frozenset(group.said[name] for group in self.groups for name in ("element", "original")
                         if name in group.said)


def components_of(kanji: Kanji) -> Iterator[Component]:
    """A kanji as a whole, and where it has two components in slots that go together, these."""
    everything = tuple(range(len(kanji.strokes)))
    yield Component(kanji.literal, WHOLE, (kanji.root,), kanji.strokes, everything, len(everything))
    slots = _joined(kanji.root)
    if len(slots) != 2 or sum(len(group.strokes) for groups in slots for group in groups) != len(everything):
        return
    positions = [next((group.said["position"] for group in groups if "position" in group.said), "")
                 for groups in slots]
    for outer, inner in CONTENTS.items():
        if sorted(positions) == sorted([outer, ""]):
            positions[positions.index("")] = inner
    if tuple(positions) not in ARRANGEMENTS and tuple(positions[::-1]) not in ARRANGEMENTS:
        return
    for groups, other, slot in zip(slots, slots[::-1], positions, strict=True):
        own = sorted(index for group in groups for index in group.strokes)
        others = min(index for group in other for index in group.strokes)
        yield Component(kanji.literal, slot, tuple(groups), tuple(kanji.strokes[index] for index in own), tuple(own),
                        sum(index < others for index in own))


def _joined(root: Group) -> list[list[Group]]:
    """The groups below the root; those that KanjiVG splits (part 1, part 2) together. Empty where strokes lie bare."""
    joined: dict[tuple, list[Group]] = {}
    for index, child in enumerate(root.children):
        if isinstance(child, int):
            return []
        if child.strokes:
            key = (child.said.get("element"), child.said.get("number")) if "part" in child.said else (index,)
            joined.setdefault(key, []).append(child)
    return list(joined.values())


class Slot:
    """All components of one slot, or of several, and points along their strokes."""

    def __init__(self, components: Sequence[Component]) -> None:
        """Take the components."""
        self.components = components
        curves = [sum(len(stroke) // 3 for stroke in component.strokes) for component in components]
        self._points, self._lengths = rough_points([stroke for one in components for stroke in one.strokes])
        self._starts = np.cumsum([0, *curves[:-1]]) * ROUGH
        self._counts = np.array(curves) * ROUGH
        self._dense: dict[int, np.ndarray] = {}
        self._of_form: dict[str, list[int]] = {}
        for index, component in enumerate(components):
            for form in component.forms:
                self._of_form.setdefault(form, []).append(index)

    def points(self, index: int) -> np.ndarray:
        """Points (n, 2) along the strokes of a component, in units."""
        if index not in self._dense:
            self._dense[index] = np.concatenate([curve_points(one, 2 * SPACING)
                                                 for one in self.components[index].strokes])
        return self._dense[index]

    @cached_property
    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and greatest x and y of each component's points: (n, 2) each."""
        return np.minimum.reduceat(self._points, self._starts), np.maximum.reduceat(self._points, self._starts)

    def nearest(self, ink: Ink, planned: Collection[str], box: tuple[np.ndarray, np.ndarray] | None = None,
                count: int = WEIGHED) -> tuple[list[int], np.ndarray]:
        """The components whose strokes lie best on the ink; and how far these lie, in units, planned ones nearer.

        box: least and greatest x and y; where it is given, each component is brought into it first.
        """
        points = self._points
        if box is not None:
            low, scale = _into(box, self.boxes)
            scale, offset = scale.astype(np.float32), (box[0] - low * scale).astype(np.float32)
            points = points * np.repeat(scale, self._counts, 0) + np.repeat(offset, self._counts, 0)
        far = np.add.reduceat(ink.distance_at(points) * self._lengths, self._starts)
        far /= np.add.reduceat(self._lengths, self._starts)
        far[[index for form in planned for index in self._of_form.get(form, ())]] -= PLANNED
        order = np.argsort(far, kind="stable")[:count]
        return order.tolist(), far[order]


def _into(box: tuple[np.ndarray, np.ndarray], boxes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What of boxes (n, 2) comes onto `box`'s least corner, and how they are scaled: (n, 2) each.

    A box without width, as of a single vertical stroke, is scaled as it is high.
    """
    low, high = boxes
    sides = high - low
    scale = (box[1] - box[0]) / np.maximum(sides, 1e-6)
    thin = sides < 3.0
    scale[thin] = np.minimum(scale[:, ::-1][thin], 3.0)
    return low, scale


class Templates:
    """The components of all kanji by slot."""

    def __init__(self, kanji: Iterable[Kanji]) -> None:
        """Take the components of some kanji."""
        by_slot: dict[str, list[Component]] = {}
        for one in kanji:
            for component in components_of(one):
                by_slot.setdefault(component.slot, []).append(component)
        self.slots = {slot: Slot(components) for slot, components in by_slot.items()}

    @cached_property
    def all_slots(self) -> Slot:
        """All components of all slots."""
        return Slot([component for slot in self.slots.values() for component in slot.components])

    def candidates(self, ink: Ink, planned: Collection[str] = (), count: int = 12) -> list[tuple[Component, ...]]:
        """The pairs of components, or whole kanji, that fit the ink best as they stand; the best first."""
        found: list[tuple[float, tuple[Component, ...]]] = []
        for names in (*ARRANGEMENTS, (WHOLE,)):
            if all(name in self.slots for name in names):
                found += self._fitting([self.slots[name] for name in names], ink, planned, count)
        return [components for _, components in sorted(found, key=lambda one: one[0])[:count]]

    def in_place_of(self, lost: Component, rest: np.ndarray, ink: Ink, planned: Collection[str],
                    count: int = 3) -> list[Component]:
        """Components that fit better where one does not: those of any slot, brought into the box of the ink there.

        rest: points (n, 2) of the ink there.
        """
        box = rest.min(0), np.maximum(rest.max(0), rest.min(0) + 1.0)
        order, far = self.all_slots.nearest(ink, planned, box)
        low, scale = _into(box, tuple(side[order] for side in self.all_slots.boxes))
        fitting = [box[0] + (self.all_slots.points(index) - low[row]) * scale[row] for row, index in enumerate(order)]
        misfit = far + [_distances(rest, points).mean() for points in fitting]
        return [_moved(self.all_slots.components[order[row]], lost, box[0] - low[row] * scale[row], scale[row])
                for row in np.argsort(misfit, kind="stable")[:count]]

    def _fitting(self, slots: Sequence[Slot], ink: Ink, planned: Collection[str],
                 count: int) -> Iterator[tuple[float, tuple[Component, ...]]]:
        """The best of one kind with their misfit: how far strokes lie from ink, plus how far ink from strokes."""
        best = [slot.nearest(ink, planned) for slot in slots]
        uncovered = [np.stack([_distances(ink.some_points, slot.points(index)) for index in order])
                     for slot, (order, _) in zip(slots, best, strict=True)]
        if len(slots) == 1:
            misfit = best[0][1] + uncovered[0].mean(1)
            for row in np.argsort(misfit, kind="stable")[:count]:
                yield misfit[row], (slots[0].components[best[0][0][row]],)
            return
        first, second = (np.array([len(slot.points(index)) for index in order]) for slot, (order, _) in
                         zip(slots, best, strict=True))
        misfit = ((best[0][1] * first)[:, None] + best[1][1] * second) / (first[:, None] + second)
        for row, own in enumerate(uncovered[0]):
            misfit[row] += np.minimum(own, uncovered[1]).mean(1)
        for flat in np.argsort(misfit, axis=None, kind="stable")[:count]:
            row, column = divmod(int(flat), misfit.shape[1])
            yield misfit[row, column], (slots[0].components[best[0][0][row]], slots[1].components[best[1][0][column]])


def _moved(component: Component, lost: Component, offset: np.ndarray, scale: np.ndarray) -> Component:
    """A component in another's place."""
    groups = tuple(Group({name: value for name, value in group.said.items() if name != "position"}
                         | {"position": lost.slot}, group.children) for group in component.groups)
    strokes = tuple(stroke * scale + offset for stroke in component.strokes)
    first = component.first if component.slot == lost.slot else len(strokes)
    return Component(component.source, lost.slot, groups, strokes, component.indices, first)


def _distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far each point is from the nearest other, in units, at most CAP."""
    return np.minimum(cKDTree(others).query(points, distance_upper_bound=CAP)[0], CAP)
