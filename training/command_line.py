"""The command lines of training/, made from the settings' dataclasses; presets come first, flags over them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

from config import PRESETS, TrainConfig

T = TypeVar("T")


class UserError(Exception):
    """A flag or an input that cannot be used; the message says what would be right."""


def parse_train_config(arguments: Sequence[str], description: str | None) -> TrainConfig:
    """The trainer's settings: those of `--preset` (tiny by default), with the flags over them.

    Prints what is wrong and exits with status 2 on a flag, a value or a preset that does not exist.
    """
    name, rest = _take_preset(arguments)
    if name not in PRESETS:
        _refuse(f"--preset {name}: no such preset; there are: {', '.join(PRESETS)}. Any other base is named by "
                "--pretrained_model_name_or_path FOLDER_OR_HUB_ID.")
    program = "train_text_to_image.py [--preset NAME]"
    return parse(TrainConfig, rest, description, default=PRESETS[name], program=program)


def parse(kind: type[T], arguments: Sequence[str], description: str | None, default: T | None = None,
          program: str | None = None) -> T:
    """A settings dataclass from the command line; names with underscores or hyphens alike."""
    try:
        extra = {} if default is None else {"default": default}
        return tyro.cli(kind, args=list(arguments), description=description, prog=program, use_underscores=True,
                        **extra)
    except ValueError as error:  # the dataclass's own checks
        _refuse(str(error))


def _take_preset(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Split `--preset NAME` or `--preset=NAME` off."""
    rest, name = list(arguments), "tiny"
    for place, argument in enumerate(rest):
        if argument == "--preset":
            if place + 1 == len(rest):
                _refuse(f"--preset needs a name: {', '.join(PRESETS)}")
            name = rest[place + 1]
            del rest[place:place + 2]
            break
        if argument.startswith("--preset="):
            name = argument.removeprefix("--preset=")
            del rest[place]
            break
    return name, rest


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
