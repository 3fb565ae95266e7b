"""The trial of a GPU runs on a CPU too, in small, and can fail."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.gpu import correctness, differences
from trainer.config import TrainConfig
from training_fixtures import run_main


def run(config: TrainConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ended = run_main(config, folder / "log.txt")
    assert ended.status == 0, ended.output


def test_resumed_runs_equal_straight_ones_and_the_table_says_so(tmp_path: Path) -> None:
    assert correctness(tmp_path, run, ["fp16", "fp32"], steps=2)
    content = json.loads((tmp_path / "correctness.json").read_text())
    assert [(one["variant"], one["deterministic"], one["holds"]) for one in content["compared"]
            if one["variant"] == "fp32"] == [("fp32", False, True), ("fp32", True, True)]
    assert "| fp32 | yes | equal, every bit | held |" in (tmp_path / "correctness.md").read_text()


def test_a_resume_that_loses_something_is_found(tmp_path: Path) -> None:
    from common import checkpoints

    def forgetful(config: TrainConfig, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

        def forget() -> None:
            checkpoints.load_optimizer_tensors = lambda optimizer, tensors: None

        ended = run_main(config, folder / "log.txt", forget)
        assert ended.status == 0, ended.output

    assert not correctness(tmp_path, forgetful, ["fp32"], steps=2)
    assert "NOT HELD" in (tmp_path / "correctness.md").read_text()


def test_two_checkpoints_are_compared_to_the_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(3), "b": torch.ones(2)}
    for folder, changed in (("one", {}), ("same", {}), ("other", {"a": torch.tensor([0.0, -0.0, 0.5])}),
                            ("more", {"c": torch.ones(1)})):
        (tmp_path / folder).mkdir()
        save_file({**tensors, **changed}, tmp_path / folder / "unet.safetensors")
    assert differences(tmp_path / "one", tmp_path / "same") == {}
    assert differences(tmp_path / "one", tmp_path / "other") == {"unet a": 0.5}
    assert differences(tmp_path / "more", tmp_path / "one") == {"unet c": float("inf")}
