"""A command line that does not fit is refused in a line that begins with the program's name and "error:"."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import pytest

from common.command_line import parse
from common.settings import check_ranges, setting


@dataclass(frozen=True)
class Inner:
    """What stands within."""

    size: int = setting(8, multiple_of=8)
    """Pixels."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Config:
    """Settings."""

    name: str
    """Whose."""
    words: tuple[str, ...] = ()
    """Any."""
    source: Literal["metadata", "txt"] | None = None
    """Where from, in a text that is longer than a terminal is wide, and that begins a line of its own in a frame."""
    steps: int = setting(1, at_least=1)
    """Updates."""
    pair: tuple[int, int] = (1, 2)
    """Two."""
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        check_ranges(self)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--source", "text"], "invalid choice 'text' for argument '--source'"),
    (["--steps", "0"], "--steps 0: must be at least 1"),
    (["--steps", "many"], "--steps: invalid literal for int() with base 10: 'many'"),
    (["--steps"], "Missing value for argument '--steps'"),
    (["--pair", "1"], "Missing value for argument '--pair'"),
    (["--inner.size", "7"], "--size 7: must be a multiple of 8"),
    (["--stepz", "3"], "Unrecognized options: --stepz, 3"),
    (["x" * 300], f"Unrecognized options: {'x' * 300}"),
    (["─" * 12], f"Unrecognized options: {'─' * 12}"),
    (["│\n─\n╭"], "Unrecognized options: "),
    (["\udcff"], "\\udcff: holds bytes that are no UTF-8"),
])
def test_what_is_wrong_stands_on_the_first_line(
        arguments: list[str], said: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit) as leaving:
        parse(Config, ["--name", "moon", *arguments], None, program="draw.py [ANY]")
    assert leaving.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.splitlines()[0].startswith(f"draw.py: error: {said}"), printed.err
    assert os.environ["COLUMNS"] == "40"


def test_what_is_missing_and_what_was_meant_perhaps_is_said(
        capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for arguments, said in (([], "Missing from draw.py: --name STR"),
                            (["--name", "x", "--stepz", "3"], "  Perhaps you meant: --steps INT")):
        with pytest.raises(SystemExit):
            parse(Config, arguments, None, program="draw.py")
        assert said in capsys.readouterr().err
    assert "COLUMNS" not in os.environ


def test_the_programs_name_is_that_of_its_file(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["training/draw.py"])
    with pytest.raises(SystemExit):
        parse(Config, ["--name"], None)
    assert capsys.readouterr().err.startswith("draw.py: error: Missing value")


def test_a_help_text_is_no_refusal_and_as_wide_as_the_terminal(
        capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit) as leaving:
        parse(Config, ["--help"], "What it does.", program="draw.py")
    printed = capsys.readouterr()
    assert leaving.value.code == 0 and printed.err == "" and "--source" in printed.out
    assert max(map(len, printed.out.splitlines())) <= 60
