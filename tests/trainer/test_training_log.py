"""The log of a training in phases: thinned metrics as JSON lines, and their curves as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from trainer.training_log import thinned, write_training_log


def run_with(folder: Path, lines: list[dict]) -> Path:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf8")
    return folder


def metrics(count: int, **terms: float) -> list[dict]:
    return [{"step": 10 * number, "loss": 1.0 / number, **terms, "learning_rate": 1e-3}
            for number in range(1, count + 1)]


def test_every_phase_is_told_of_in_its_order_and_drawn(tmp_path):
    runs = {"words": run_with(tmp_path / "words", metrics(7)), "none": tmp_path / "none",
            "reward": run_with(tmp_path / "reward", metrics(5, **{"loss/diffusion": 0.5, "loss/reward": 2.0}))}
    write_training_log(tmp_path, runs)
    lines = [json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text(encoding="utf8").splitlines()]
    assert [(line["phase"], line["step"]) for line in lines] == [
        *(("words", 10 * number) for number in range(1, 8)), *(("reward", 10 * number) for number in range(1, 6))]
    drawn = etree.parse(tmp_path / "training_curves.svg")
    texts = [text.text for text in drawn.iter("{*}text")]
    assert [text for text in texts if ":" in text] == ["words: loss", "reward: loss/diffusion", "reward: loss/reward"]
    assert [len(line.get("points").split()) for line in drawn.iter("{*}polyline")] == [7, 5, 5]


def test_scores_stand_beside_the_losses_and_have_curves_of_their_own(tmp_path):
    lines = [*metrics(2), {"step": 20, "score/well_formed": 0.5}, *metrics(4)[2:],
             {"step": 40, "score/well_formed": 0.75, "score/components": 0.25}]
    write_training_log(tmp_path, {"words": run_with(tmp_path / "words", lines), "none": tmp_path / "none"})
    logged = [json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text(encoding="utf8").splitlines()]
    assert [(line["step"], "loss" in line) for line in logged] == [
        (10, True), (20, True), (20, False), (30, True), (40, True), (40, False)]
    assert logged[-1] == {"phase": "words", "step": 40, "score/well_formed": 0.75, "score/components": 0.25}
    drawn = etree.parse(tmp_path / "training_curves.svg")
    assert [text.text for text in drawn.iter("{*}text") if ":" in text.text] == [
        "words: loss", "words: score/well_formed", "words: score/components"]
    assert [len(line.get("points").split()) for line in drawn.iter("{*}polyline")] == [4, 2, 1]


def test_a_long_phase_is_thinned_to_means_of_neighbours():
    lines = thinned(metrics(205), 100)
    assert len(lines) == 69 and lines[0]["step"] == 30 and lines[-1]["step"] == 2050
    assert lines[0]["loss"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3, abs=1e-5)
