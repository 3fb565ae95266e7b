"""Whether what was planned was drawn: which planned components a judge finds in an image, and that in words."""

from __future__ import annotations

from common.characters import shortened
from generation.request import ImageRequest
from planner.plan import Plan, PlannedComponent
from recogniser.judge import Reading

NUMBERS = ("none", "one", "two", "three")


def found_components(plan: Plan, reading: Reading) -> list[PlannedComponent]:
    """The planned components that are read in an image, in whatever slot.

    By meaning form, in any sense of what is read; or by name, which two forms may share: the model is asked for a
    "bird", be it 鳥 or 隹.
    """
    read = frozenset().union(*(component.forms for component in reading.components))
    names = {component.meaning for component in reading.components} - {""}
    return [component for component in plan.components if component.form in read or component.name in names]


def found_fraction(plan: Plan | None, reading: Reading) -> float:
    """The fraction of the planned components that are found, 0 to 1; 1 without a plan."""
    if plan is None or not plan.components:
        return 1.0
    return len(found_components(plan, reading)) / len(plan.components)


def found_in_words(plan: Plan, reading: Reading) -> str:
    """As in "both found", "one of two found: 火 fire" or "none found"."""
    found, count = found_components(plan, reading), len(plan.components)
    if count == 1:
        return "found" if found else "not found"
    if len(found) == count:
        return "both found" if count == 2 else "all found"
    if not found:
        return "none found"
    names = " and ".join(f"{one.form} {one.name}".strip() for one in found)
    return f"{NUMBERS[len(found)]} of {NUMBERS[count] if count < len(NUMBERS) else count} found: {names}"


def explain(request: ImageRequest, reading: Reading) -> str:
    """What an image was to be and what is read in it, a line.

    As in "rocket: left 火 fire + right 車 car, 11 strokes, both found"; where something is not found, what is read
    instead follows.
    """
    plan = request.plan
    if plan is None or not plan.components:
        return f"{shortened(request.title)}: {reading.explain()}"
    count = max(1, round(reading.strokes))
    line = f"{reason(plan)}, {count} stroke{'s' * (count != 1)}, {found_in_words(plan, reading)}"
    if found_fraction(plan, reading) < 1.0:
        line += f"; read: {' + '.join(map(str, reading.components)) or 'no component that is known'}"
    return line if reading.nearest is None else f"{line}; nearest real kanji {reading.nearest}"


def reason(plan: Plan) -> str:
    """The plan's reason on one line of a bearable length."""
    return plan.reason().replace(plan.words, shortened(plan.words), 1)
