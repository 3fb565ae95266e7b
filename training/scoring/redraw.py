"""The command that makes a sample again."""

from __future__ import annotations

import shlex
from dataclasses import fields

from common.paths import shown_name
from generation.settings import SamplingSettings
from scoring.prompt_sets import Prompt


def redraw_command(prompt: Prompt, seed: int, settings: SamplingSettings) -> str:
    """The command of generate.py that makes the sample of a prompt and a seed again, with no flag at its default.

    A model whose folder was given as an absolute path is named by its last part alone: run it where that lies. The
    device is left out: a CPU and a GPU round differently.
    """
    flags = {"seed": seed, "strokes": prompt.strokes}
    for field in fields(SamplingSettings):
        value = getattr(settings, field.name)
        if field.name not in ("seed", "device") and value != field.default:
            flags[field.name] = shown_name(value) if field.name == "model" else value
    words = [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
    return shlex.join(["python", "training/generate.py", prompt.text, *words])
