"""Settings whose fields say of themselves what holds for them: range, old name, and where they count.

    @dataclass(frozen=True)
    class Config:
        steps: int = setting(100, at_least=1, was="updates")
        \"\"\"Optimizer updates.\"\"\"

        def __post_init__(self) -> None:
            check_ranges(self)

No list of names is kept anywhere else: what may differ at resume, what a card must not tell and what a flag was called
is all read from the fields.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_INTEGER = 2**63 - 1  # what a tensor's sizes, indices and seeds can be
MAY_DIFFER, PRIVATE, NOT_OF_RESULT = "may_differ", "private", "not_of_result"
_BOUNDS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt,
           "multiple_of": lambda value, factor: value % factor == 0}


def setting(default: Any, *, was: str | None = None, may_differ: bool = False, private: bool = False,
            not_of_result: bool = False, **bounds: float) -> Any:
    """A field of a settings dataclass.

    was: its name in older versions, which is read from old files and refused as a flag with the new name; may_differ:
    it may have another value when a run is resumed, since it changes nothing that was learned; private: a path of this
    machine, which is nobody else's business; not_of_result: a finished run with another value is finished all the
    same; bounds: `at_least`, `above`, `at_most`, `below` or `multiple_of`, which hold for a value that is not None and
    make it finite, a whole number one of 64 bits.
    """
    if unknown := bounds.keys() - _BOUNDS.keys():
        raise TypeError(f"no such bound: {', '.join(sorted(unknown))}")
    return dataclasses.field(default=default, metadata={
        "was": was, MAY_DIFFER: may_differ, PRIVATE: private, NOT_OF_RESULT: not_of_result, "bounds": bounds})


def check_ranges(config: Any) -> None:
    """Raise ValueError naming the first flag whose value is out of its range."""
    for field in dataclasses.fields(config):
        bounds, value = field.metadata.get("bounds"), getattr(config, field.name)
        if bounds and value is not None:
            words = " and ".join(f"{name.replace('_', ' ')} {limit}" for name, limit in bounds.items())
            require(isinstance(value, float) or abs(value) <= MAX_INTEGER, field.name, value, "a number of 64 bits")
            holds = math.isfinite(value) and all(_BOUNDS[name](value, limit) for name, limit in bounds.items())
            require(holds, field.name, value, words.replace("multiple", "a multiple"))


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raise ValueError naming a flag where its value is not what is expected."""
    if not holds:
        raise ValueError(f"--{name} {value}: must be {expected}")


def as_json(config: Any, without: str | None = None) -> dict[str, Any]:
    """The settings as JSON holds them, paths as strings and tuples as lists; without those marked as `without`."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)
            if without is None or not field.metadata.get(without)}


def as_flags(config: Any, default: Any = None, without: str | None = None, prefix: str = "") -> list[str]:
    """The flags that give these settings, of nested ones with their prefix: those that differ from `default`'s.

    default: settings of the same kind; None: the command's own. without: as for as_json.
    """
    default, flags = type(config)() if default is None else default, []
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if value == usual or (without is not None and field.metadata.get(without)):
            continue
        if dataclasses.is_dataclass(value):
            flags += as_flags(value, usual, without, f"{prefix}{field.name}.")
        elif isinstance(value, bool):
            flags.append(f"--{prefix}{field.name}" if value else f"--{prefix}no_{field.name}")
        else:
            flags += [f"--{prefix}{field.name}", *map(str, value if isinstance(value, tuple) else [value])]
    return flags


def with_current_names(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a file holds, by the names that the dataclass `kind` has for them today."""
    renamed = {field.metadata.get("was"): field.name for field in dataclasses.fields(kind)}
    return {renamed.get(name, name): value for name, value in stored.items()}


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings that differ, each in words; one that either of two versions of a command lacks is not compared."""
    return [f"--{name}: was {stored[name]!r}, is {value!r}" for name, value in now.items()
            if name in stored and stored[name] != value]


def old_flags(kind: type, prefix: str = "") -> dict[str, str]:
    """The flags that a command with these settings had in older versions, and what they are called now."""
    flags, hints = {}, typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if was := field.metadata.get("was"):
            flags[prefix + was] = prefix + field.name
        if dataclasses.is_dataclass(nested := hints[field.name]):
            flags |= old_flags(nested, f"{prefix}{field.name}.")
    return flags


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
