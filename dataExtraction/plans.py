"""A file of plans: words, and the components that each is to be written with.

One JSON object a line, UTF-8:

    {"word": "submarine", "components": [{"form": "舟", "name": "boat", "slot": "left"},
     {"form": "水", "name": "water", "slot": "right"}], "confidence": 0.61}

`form` is a meaning form (水 for 氵), `name` what it is called in the captions, `slot` KanjiVG's position, or "whole" in
a plan of one component. `confidence`, 0 to 1, may be left out and decides nothing here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arrangements import ARRANGEMENTS
from errors import UserError

NAMES_FILE = Path(__file__).resolve().parent / "names.jsonl"  # the plans that are shipped
WHOLE = "whole"  # the slot of a component that stands alone
MAX_COMPONENTS = 3  # of a plan
_SLOTS = [slot for arrangement in ARRANGEMENTS for slot in (arrangement.first, arrangement.second)]
_TEXT_FIELDS = ("form", "name", "slot")


@dataclass(frozen=True)
class PlannedComponent:
    """A component that is asked for."""

    form: str  # its meaning form, one character
    name: str
    slot: str


@dataclass(frozen=True)
class Plan:
    """One line of the file."""

    word: str
    components: tuple[PlannedComponent, ...]  # one to MAX_COMPONENTS
    line: int  # its number in the file, from 1


@dataclass(frozen=True)
class PlanFile:
    """A whole file, and exactly which."""

    path: Path
    sha256: str
    plans: tuple[Plan, ...]  # no word twice

    def error(self, line: int, problem: str) -> UserError:
        """The error that names file and line."""
        return UserError(f"{self.path}, line {line}: {problem}")


class _PlanError(ValueError):
    """What is wrong with one line, in a few words."""


def read_plans(path: Path, flag: str) -> PlanFile:
    """Read and check a file of plans, given with `flag`.

    Raises UserError where it cannot be read, has no plan, or where a line is no plan or repeats a word; the message
    names the file and the first such line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{flag} {path}: no such file") from None
    except OSError as error:
        raise UserError(f"{flag} {path}: cannot be read ({error.strerror})") from None
    lines: dict[str, int] = {}  # of each word
    plans = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            plan = _plan(line, number)
            if plan.word in lines:
                raise _PlanError(f"the word {plan.word!r} stands on line {lines[plan.word]} already")
        except _PlanError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        lines[plan.word] = number
        plans.append(plan)
    if not plans:
        raise UserError(f"{flag} {path}: no plan in it")
    return PlanFile(path, hashlib.sha256(data).hexdigest(), tuple(plans))


def _plan(line: bytes, number: int) -> Plan:
    """The plan of one line. Raises _PlanError."""
    try:
        said = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise _PlanError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise _PlanError("not a whole JSON object (cut off?)") from None
    _check_fields(said, "a plan", ("word", "components"), ("also", "confidence"))
    _check_text(said, "word")
    also = said.get("also", [])
    if not isinstance(also, list) or not all(isinstance(word, str) for word in also):
        raise _PlanError(f"also is {_shown(also)}, not a list of words")
    confidence = said.get("confidence", 0)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise _PlanError(f"confidence is {_shown(confidence)}, not a number from 0 to 1")
    components = said["components"]
    if not isinstance(components, list) or not 1 <= len(components) <= MAX_COMPONENTS:
        raise _PlanError(f"components is {_shown(components)}, not a list of one to {MAX_COMPONENTS}")
    return Plan(said["word"], tuple(_component(component, len(components)) for component in components), number)


def _component(said: Any, together: int) -> PlannedComponent:
    """A component of a plan of `together` components. Raises _PlanError."""
    _check_fields(said, "a component", _TEXT_FIELDS)
    for name in _TEXT_FIELDS:
        _check_text(said, name)
    slots = [WHOLE] if together == 1 else _SLOTS
    if said["slot"] not in slots:
        of = "one component" if together == 1 else f"{together} components"
        raise _PlanError(f"the slot {_shown(said['slot'])} is none of a plan of {of}: {', '.join(slots)}")
    if len(said["form"]) != 1:
        raise _PlanError(f"the form {_shown(said['form'])} is not one character")
    return PlannedComponent(**said)


def _check_fields(said: Any, what: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    if not isinstance(said, dict):
        raise _PlanError(f"{_shown(said)} is not {what}, a JSON object")
    for name in required:
        if name not in said:
            raise _PlanError(f"{what} without {name}")
    if unknown := sorted(said.keys() - {*required, *optional}):
        raise _PlanError(f"{what} with the unknown field {_shown(unknown[0])}; it has {', '.join(required + optional)}")


def _check_text(said: dict[str, Any], name: str) -> None:
    """Text that can stand in a caption: not empty, on one line, no space around it."""
    text = said[name]
    if not isinstance(text, str) or not text or text != text.strip() or not text.isprintable():
        raise _PlanError(f"{name} is {_shown(text)}, not plain text on one line")


def _shown(value: Any) -> str:
    """A value as it stands in the file, cut short; ASCII only where it cannot be printed."""
    text = json.dumps(value, ensure_ascii=False)
    return (text if text.isprintable() else json.dumps(value))[:60]
