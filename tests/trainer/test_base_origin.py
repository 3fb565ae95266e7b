"""How the embedded base's weights came about is read from what its runs and its dataset say of themselves."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from common.command_line import parse
from trainer.base_origin import origin_of
from trainer.base_recipe import BaseConfig, command_of, phases
from trainer.model_card import base_text

CONFIG = {"samples_per_update": 60, "dataset_sha256": "d" * 64, "git_commit": "c" * 40,
          "machine": "A Processor, 2 cores",
          "packages": {"torch": "2.13.0", "diffusers": "0.42.1", "transformers": "5.24.0", "peft": "0.21.2"}}


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """Two phases: the first of 20 updates of 60 images, whose second half was half as fast, the other of ten."""
    made = {}
    for name, rates in (("words", (30.0, 15.0)), ("components", (60.0,))):
        made[name] = tmp_path / name
        made[name].mkdir()
        (made[name] / "config.json").write_text(json.dumps(CONFIG))
        (made[name] / "metrics.jsonl").write_text("".join(
            json.dumps({"step": 10 * number, "loss": 0.5, "images_per_s": rate}) + "\n"
            for number, rate in enumerate(rates, 1)))
    return made


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "tiny/unet").mkdir(parents=True)
    (tmp_path / "tiny/unet/diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    return tmp_path / "tiny"


def test_hours_images_hashes_and_sources_are_said(runs: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({
        "sources": [{"name": "KANJIDIC2", "version": "2022-235"}, {"name": "KanjiVG", "version": "20260714"}],
        "options": {"compose": 120000, "limit": None}}))
    origin = origin_of(weights, "python training/train_base.py", tmp_path, runs)
    assert origin.hours == pytest.approx({"words": (20 + 40) / 3600, "components": 10 / 3600})
    assert origin.images == 30 * 60
    assert origin.files_sha256 == {
        "unet/diffusion_pytorch_model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    card = base_text({name: phases(BaseConfig())[name] for name in runs}, origin)
    for said in ("1,800 images", "A Processor, 2 cores", "c" * 40, "torch 2.13.0", "d" * 64, "compose 120000",
                 "KANJIDIC2 2022-235 and KanjiVG 20260714", hashlib.sha256(b"weights").hexdigest(), "| hours |"):
        assert card.count(said) == 1, said
    assert "limit" not in card and "peft" not in card


def test_runs_that_differ_are_all_told_of(runs: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    (runs["words"] / "config.json").write_text(json.dumps({**CONFIG, "git_commit": "e" * 40, "machine": "Another"}))
    origin = origin_of(weights, "python training/train_base.py", tmp_path, runs)
    assert origin.machines == ("Another", "A Processor, 2 cores")
    assert [code[:14] for code in origin.code] == ["commit eeeeeee", "commit ccccccc"]
    assert origin.dataset == ""


def test_of_a_run_that_is_not_there_nothing_is_said(runs: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    (runs["words"] / "config.json").unlink()
    assert origin_of(weights, "python training/train_base.py", tmp_path, runs) is None


def test_the_command_has_what_differs_and_no_path_of_this_machine() -> None:
    config = BaseConfig(train_data_dir=Path("/home/me/pictures/kanji120"), output_dir=Path("/home/me/runs"), seed=3)
    words = replace(config.words, max_train_steps=600, use_ema=False, cache_dir=Path("/tmp/cache"))
    command = command_of(replace(config, words=words))
    assert command == ("python training/train_base.py --train_data_dir kanji120 --seed 3 --words.max_train_steps 600 "
                       "--words.no_use_ema")
    assert parse(BaseConfig, shlex.split(command)[2:], None, "train_base.py").words.use_ema is False
    assert command_of(BaseConfig()) == "python training/train_base.py"
