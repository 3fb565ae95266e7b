"""The command that makes a sample again."""

from __future__ import annotations

import pytest

from generation.settings import GenerateConfig
from scoring.prompt_sets import Prompt
from scoring.redraw import redraw_command


@pytest.mark.parametrize(("prompt", "settings", "command"), [
    (Prompt("moon"), {}, "python training/generate.py moon --seed 3"),
    (Prompt("Buzz Aldrin's", strokes=8), {"device": "cpu", "seed": 1},
     "python training/generate.py 'Buzz Aldrin'\"'\"'s' --seed 3 --strokes 8"),
    (Prompt("moon"), {"model": "runs/tiny", "steps": 4, "guidance_scale": 1.5, "guided_fraction": 1.0},
     "python training/generate.py moon --seed 3 --model runs/tiny --steps 4 --guidance_scale 1.5 "
     "--guided_fraction 1.0"),
    (Prompt("moon"), {"model": "/home/someone/model"}, "python training/generate.py moon --seed 3 --model model"),
])
def test_only_flags_that_differ_from_their_defaults_are_said(prompt, settings, command):
    assert redraw_command(prompt, 3, GenerateConfig(**settings)) == command
