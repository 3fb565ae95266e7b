"""A setting's field says its range, its old name and where it counts, and everything else is read from there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.settings import (
    MAY_DIFFER,
    PRIVATE,
    as_json,
    check_ranges,
    differences,
    old_flags,
    setting,
    with_current_names,
)


@dataclass(frozen=True)
class Stage:
    steps: int = setting(10, at_least=1, was="updates")

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Config:
    rate: float = setting(0.5, above=0, at_most=1)
    side: int | None = setting(None, multiple_of=8)
    folder: Path = setting(Path("runs"), may_differ=True, private=True, was="directory")
    words: tuple[str, ...] = ("moon", "tree")
    stage: Stage = field(default_factory=Stage)

    def __post_init__(self) -> None:
        check_ranges(self)


@pytest.mark.parametrize(("values", "words"), [
    ({"rate": 0.0}, "--rate 0.0: must be above 0 and at most 1"), ({"rate": 1.5}, "at most 1"),
    ({"rate": float("nan")}, "--rate nan"), ({"rate": float("inf")}, "--rate inf"),
    ({"side": 12}, "--side 12: must be a multiple of 8")])
def test_a_value_out_of_its_range_is_refused_by_its_flag(values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**values)


def test_what_is_not_given_has_no_range() -> None:
    assert Config(rate=1.0, side=None).side is None
    assert Config(side=16).side == 16


def test_json_leaves_out_what_is_marked() -> None:
    assert as_json(Config())["folder"] == "runs"
    assert as_json(Config())["words"] == ["moon", "tree"]
    for mark in (MAY_DIFFER, PRIVATE):
        assert as_json(Config(), without=mark).keys() == {"rate", "side", "words", "stage"}


def test_old_names_are_read_from_files_and_named_for_flags() -> None:
    assert with_current_names(Config, {"directory": "here", "rate": 1, "gone": 2}) == {
        "folder": "here", "rate": 1, "gone": 2}
    assert old_flags(Config) == {"directory": "folder", "stage.updates": "stage.steps"}


def test_only_what_both_versions_have_is_compared() -> None:
    assert differences({"seed": 1, "gone": 2}, {"seed": 1, "new": 3}) == []
    assert differences({"seed": 5}, {"seed": 0}) == ["--seed: was 5, is 0"]


def test_a_bound_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="at_lest"):
        setting(1, at_lest=0)
