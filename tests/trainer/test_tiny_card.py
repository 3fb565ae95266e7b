"""The embedded base's card does what it says, and train_base.py writes one of the same form."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

import generate
from common.paths import TINY_DIR
from generation.settings import GenerateConfig
from recogniser.training import RecogniserConfig
from scoring.config import EvaluateConfig
from scoring.self_training import SelfTrainingConfig
from snippet_fixtures import images_of, python_blocks, shell_blocks
from trainer.base_recipe import BaseConfig, phases
from trainer.config import TrainConfig
from trainer.export import AverageConfig, ExportConfig
from trainer.model_card import base_text

CARD, LOG = TINY_DIR / "README.md", TINY_DIR / "EXPERIMENTS.md"
SETTINGS = {"average_models": AverageConfig, "evaluate": EvaluateConfig, "export": ExportConfig,
            "generate": GenerateConfig, "self_training": SelfTrainingConfig, "train_base": BaseConfig,
            "train_recogniser": RecogniserConfig, "train_text_to_image": TrainConfig}


def commands(page: str) -> list[list[str]]:
    """The commands of a page's blocks, split into words."""
    lines = "".join(shell_blocks(page)).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("python ")]


def unknown_flags(command: Sequence[str]) -> set[str]:
    script = Path(command[1]).stem
    known = {"preset"} | {field.name for field in fields(SETTINGS[script])}
    return {word for word in command[2:] if word.startswith("--") and word[2:] not in known}


def test_its_command_and_its_snippets_run_as_they_stand_and_draw_what_generate_draws(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = CARD.read_text(encoding="utf8")
    (tmp_path / "training").symlink_to(TINY_DIR.parent)
    write = next(block for block in shell_blocks(card) if "export.py" in block)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-ec", write], cwd=tmp_path, check=True, env={**os.environ, "PATH": path})
    plain, as_generate = python_blocks(card)
    images = images_of({"plain": plain, "guided": as_generate}, tmp_path)
    assert images["plain"].shape[:2] == (128, 128)

    draw, = (command for command in commands(card) if "generate.py" in command[1])
    monkeypatch.chdir(tmp_path)
    assert generate.main([*draw[2:], "--output", "drawn", "--device", "cpu"]) == 0
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "full-moon-0.png").convert("L"))
    assert np.array_equal(np.asarray(Image.fromarray(images["guided"]).convert("L")), drawn)


def test_train_base_writes_a_card_of_the_same_form() -> None:
    shipped = CARD.read_text(encoding="utf8")
    config = BaseConfig(words=replace(BaseConfig().words, max_train_steps=1234, train_batch_size=32))
    written = base_text(phases(config))
    headings = [re.findall(r"^#+ .*$", card, re.MULTILINE) for card in (shipped, written)]
    assert headings[0] == headings[1]
    assert python_blocks(shipped) == python_blocks(written)
    assert ModelCard(shipped).data.to_dict() == ModelCard(written).data.to_dict()
    for source in ("KanjiVG", "KANJIDIC2", "Apache License 2.0", "CC BY-SA 3.0", "CC BY-SA 4.0", "train_base.py"):
        assert source in shipped and source in written
    assert "| words | 1234 × 32 |" in written


@pytest.mark.parametrize("page", [CARD, LOG, None])
def test_the_commands_that_are_named_have_flags_that_are_there(page: Path | None) -> None:
    found = commands(base_text(phases(BaseConfig())) if page is None else page.read_text(encoding="utf8"))
    ours = [command for command in found if command[1].startswith("training/")]
    assert len(ours) >= 3
    assert {tuple(command[:2]): unknown for command in ours if (unknown := unknown_flags(command))} == {}


def test_the_log_uses_the_flags_names_of_now() -> None:
    text = CARD.read_text(encoding="utf8") + LOG.read_text(encoding="utf8")
    for flag in re.findall(r"`--(\w+)", text):
        assert any(flag in {field.name for field in fields(kind)} for kind in SETTINGS.values()), flag
