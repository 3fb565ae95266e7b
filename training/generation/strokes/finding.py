"""From a drawn image to its strokes: what it looks like, fitted to it, and how well that is met."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from generation.strokes.curves import curve_points
from generation.strokes.document import StrokeTree
from generation.strokes.fitting import align, refine
from generation.strokes.ink import CAP, Ink
from generation.strokes.kanjivg import Group, read_kanji
from generation.strokes.repairing import absent, lacking
from generation.strokes.templates import Component, Templates
from generation.svg import INK

KEPT_IOU = 0.9  # strokes that meet the image less are none of it
MAX_AMISS = 3  # strokes that the components have and the image has not, or the other way round
AMISS = 0.02  # of intersection over union is what each of these counts
GOOD_IOU = 0.94  # of what is surely the right component; nothing better is looked for
ALIGNED, REFINED = 6, 2  # candidates that are laid onto the ink, and of these that are fitted in full
MAX_INK = 0.36  # of the image; no kanji has more
FAR = 2.5  # units, of ink from a stroke that is another's


@dataclass(frozen=True)
class FoundStrokes:
    """The strokes of an image, the components that they were fitted from, and intersection over union of the ink.

    added: how many strokes no component has, the last ones; absent: how many of the components' are not there. Where
    these are more than MAX_AMISS, the strokes are the components' as they are.
    """

    tree: StrokeTree
    components: tuple[Component, ...]
    iou: float
    added: int = 0
    absent: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether they meet the image well enough to stand for it, and are a component's but for a few."""
        return self.iou >= KEPT_IOU and self.added + self.absent <= MAX_AMISS

    @property
    def is_sure(self) -> bool:
        """Whether nothing better is to be looked for: the right components surely, with all their strokes."""
        return self.iou >= GOOD_IOU and not self.added and not self.absent

    @property
    def merit(self) -> float:
        """What is better of two: more of the ink, and strokes that are the components'."""
        return self.iou - AMISS * (self.added + self.absent)


class StrokeFinder:
    """Finds the strokes of images with the help of KanjiVG's; it takes some seconds to read these."""

    def __init__(self, templates: Templates | None = None) -> None:
        """Take these components, or all of the installed KanjiVG. Raises NoStrokesError where that is not there."""
        self._templates = Templates(read_kanji()) if templates is None else templates

    def find(self, image: Image.Image, planned: Collection[str] = ()) -> FoundStrokes | None:
        """The strokes that meet an image best, or None: it has no ink or too much, or is not square.

        planned: forms of components that are probably in it.
        """
        if image.width != image.height:
            return None
        ink = Ink(image)
        if ink.inked.mean() > MAX_INK or len(ink.points) < 2:
            return None
        found = _best(self._templates.candidates(ink, planned)[:ALIGNED], ink, None)
        if found is not None and not found[0].is_sure and len(found[0].components) == 2:
            found = _best(self._replaced(found, ink, planned), ink, found)
        return None if found is None else found[0]

    def _replaced(self, found: _Found, ink: Ink, planned: Collection[str]) -> list[tuple[Component, ...]]:
        """Pairs in which one component is as it was fitted, and the other one that fits the rest of the ink better."""
        components, fitted = found[0].components, found[1]
        count = len(components[0].strokes)
        first, second = (replace(one, strokes=tuple(strokes)) for one, strokes in
                         zip(components, (fitted[:count], fitted[count:]), strict=True))
        pairs = []
        for kept, lost in ((first, second), (second, first)):
            far, _ = cKDTree(np.concatenate([curve_points(stroke) for stroke in kept.strokes])).query(ink.points)
            if (far > FAR).sum() > 1:
                others = self._templates.in_place_of(lost, ink.points[far > FAR], ink, planned)
                pairs += [(kept, other) if kept is first else (other, kept) for other in others]
        return pairs


_Found = tuple[FoundStrokes, list[np.ndarray]]  # the second: the components' strokes as they were fitted


def _best(candidates: Sequence[tuple[Component, ...]], ink: Ink, found: _Found | None) -> _Found | None:
    """Of the candidates, and what was found before, the one that meets the image best."""
    aligned = [(align([one.strokes for one in components], ink), components) for components in candidates]
    aligned.sort(key=lambda one: _misfit(one[0], ink))
    for strokes, components in aligned[:REFINED]:
        if found is None or not found[0].is_sure:
            new = _fitted(components, strokes, ink)
            found = new if found is None or new[0].merit > found[0].merit else found
    return found


def _fitted(components: tuple[Component, ...], aligned: list[np.ndarray], ink: Ink) -> _Found:
    """The strokes of some components fitted to the ink, without those that are not there, and with what they lack."""
    fitted = strokes = refine(aligned, ink)
    here = [not gone for gone in absent(fitted, aligned, ink)]
    there = [stroke for stroke, is_here in zip(fitted, here, strict=True) if is_here]
    added, gone = lacking(there, ink) if there else [], len(here) - sum(here)
    if 0 < len(added) + gone <= MAX_AMISS and there:
        strokes = refine([*there, *added], ink)
    else:  # nothing is amiss, or so much that these strokes are none of the image's
        here = [True] * len(here)
    tree = _tree(components, here, strokes)
    drawn = tree.drawn(len(ink.inked)) < INK
    iou = float((drawn & ink.inked).sum() / max(1, (drawn | ink.inked).sum()))
    return FoundStrokes(tree, components, iou, len(added), gone), fitted


def _misfit(strokes: Sequence[np.ndarray], ink: Ink) -> float:
    """How far strokes lie from ink, plus how far ink from strokes, in units."""
    points = np.concatenate([curve_points(stroke) for stroke in strokes])
    far, back = ink.tree.query(points)[0], cKDTree(points).query(ink.points)[0]
    return float(np.minimum(far, CAP).mean() + np.minimum(back, CAP).mean())


def _drawing_order(components: Sequence[Component]) -> list[int]:
    """Which stroke is drawn when, all components' counted through.

    The first component's come first, but for what its kanji draws after the other's, as the last stroke of 囗, or all
    of 辶.
    """
    outer, count = components[0], sum(len(one.strokes) for one in components)
    first = outer.first
    return [*range(first), *range(len(outer.strokes), count), *range(first, len(outer.strokes))]


def _tree(components: Sequence[Component], here: Sequence[bool], strokes: Sequence[np.ndarray]) -> StrokeTree:
    """The strokes in drawing order, with their groups.

    strokes: of the components, one after another, those that are `here`; then those that were added, which come last.
    """
    places = dict(zip((index for index, is_here in enumerate(here) if is_here), range(len(strokes)), strict=False))
    order = [index for index in _drawing_order(components) if here[index]]
    rest = range(len(places), len(strokes))
    starts = np.cumsum([0, *[len(one.strokes) for one in components]]).tolist()
    groups = []
    for start, one in zip(starts, components, strict=False):
        numbers = {index: order.index(start + place) for place, index in enumerate(one.indices) if here[start + place]}
        groups += [group.renumbered(numbers) for group in one.groups]
    groups = sorted((group for group in groups if group.strokes), key=lambda group: min(group.strokes))
    if rest:
        groups.append(Group({}, tuple(rest)))
    return StrokeTree(tuple(strokes[places[index]] for index in order) + tuple(strokes[index] for index in rest),
                      tuple(groups))
