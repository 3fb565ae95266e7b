"""Weights that are cast once an update give what autocast gives, which casts them in every pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.families import family_of
from models.pipelines import load_pipeline
from trainer import train_state
from trainer.config import TrainConfig
from trainer.train_state import TrainState
from training_fixtures import metrics, run_main, run_processes, same_tensors, small_config

pytestmark = pytest.mark.usefixtures("own_accelerator")


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{
        "cache_dir": bench / "cache", "mixed_precision": "bf16", "half_weights": True, **changes})


def trained(bench: Path, output: Path, **changes) -> Path:
    """A run that has ended well."""
    ended = run_main(config_of(bench, output, **changes), output.with_suffix(".txt"))
    assert ended.status == 0, ended.output
    return output


@pytest.mark.parametrize("changes", [
    {}, {"train_batch_size": 2, "gradient_accumulation_steps": 2, "optimizer": "muon", "gradient_checkpointing": True}],
    ids=["plain", "accumulated, Muon, recomputing"])
def test_a_run_learns_what_it_does_without_them(changes: dict, bench: Path, tmp_path: Path) -> None:
    with_them = trained(bench, tmp_path / "with", **changes)
    without = trained(bench, tmp_path / "without", half_weights=False, **changes)
    losses = [[line["loss"] for line in metrics(run)] for run in (with_them, without)]
    assert losses[0] == losses[1]
    assert same_tensors(with_them / "checkpoint-000006", without / "checkpoint-000006")


def test_what_is_saved_averaged_and_sampled_stays_fp32(bench: Path) -> None:
    state = state_of(bench)
    files = state.files()
    assert all(tensor.dtype == torch.float32 for name in ("unet", "ema") for tensor in files[name].values())
    with state.averaged() as unet:
        assert unet is state.unet
        assert {weight.dtype for weight in unet.parameters()} == {torch.float32}


def test_matrices_and_kernels_compute_in_half_precision_and_norms_in_fp32(bench: Path) -> None:
    state = state_of(bench)
    dtypes = {name: weight.dtype for name, weight in state.network.named_parameters()}
    assert dtypes.keys() == state.trained.keys()
    assert {dtype for name, dtype in dtypes.items() if "norm" in name} == {torch.float32}
    assert {dtype for name, dtype in dtypes.items() if "norm" not in name} == {torch.bfloat16}


def test_the_weights_are_not_cast_in_a_pass(bench: Path) -> None:
    """And autocast does so, of each of them: the comparison can fail."""
    largest = max(load_pipeline(str(bench / "base")).unet.parameters(), key=torch.Tensor.numel).numel()
    for half_weights, casts in ((True, False), (False, True)):
        state = state_of(bench, half_weights=half_weights)
        with torch.profiler.profile(record_shapes=True) as profile, torch.autocast("cpu", torch.bfloat16):
            state.forward(torch.ones(1, 4, 16, 16), torch.ones(1), torch.ones(1, 77, 32))
        sizes = [torch.Size(event.input_shapes[0]).numel() for event in profile.events()
                 if event.name == "aten::_to_copy" and event.input_shapes[0]]
        assert (largest in sizes) == casts


def test_gradients_add_up_in_fp32(bench: Path) -> None:
    """Of 256 and 1, bf16 would keep the 256."""
    state = state_of(bench)
    for value in (256.0, 1.0):
        with state.accumulate(last=value == 1.0):
            for copy in state.half.copies:
                copy.grad = torch.full_like(copy, value)
    assert all(master.grad.eq(257.0).all() for master in state.half.masters)
    assert all(copy.grad is None for copy in state.half.copies)


def test_in_fp32_there_is_nothing_to_cast(bench: Path) -> None:
    state = state_of(bench, mixed_precision="no")
    assert state.half is None and state.network is state.unet


def test_several_processes_are_refused_by_the_flags_name(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run")
    first, second = run_processes([config, config], tmp_path / "logs", timeout_s=120)
    assert [first.status, second.status] == [1, 1]
    assert "--half_weights is for one process" in first.output
    assert "error" not in second.output and "Traceback" not in first.output + second.output


@pytest.mark.parametrize("changes", [{}, {"compile_mode": "reduce-overhead"}])
def test_what_computes_is_what_is_compiled_in_the_mode_that_is_asked_for(
        changes: dict, bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(train_state.torch, "compile", lambda network, mode: asked.append((network, mode)) or network)
    state = state_of(bench, compile=True, **changes)
    assert asked == [(state.half.network, changes.get("compile_mode", "default"))]


def state_of(bench: Path, **changes) -> TrainState:
    from accelerate import Accelerator

    pipeline = load_pipeline(str(bench / "base"))
    return TrainState(pipeline.unet, family_of(pipeline), config_of(bench, Path("unused"), **changes),
                      Accelerator(cpu=True, mixed_precision="no"))
