"""bf16 where the processor has instructions for it: elsewhere it is imitated, and twenty times slower than fp32."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from common.device import autocast, autocast_on_gpu, has_bf16
from trainer.config import TrainConfig, with_precision
from trainer.optimizers import _Fp32Muon
from training_fixtures import run_main, save_base, save_dataset, small_config

CPU = torch.device("cpu")
Processor = Callable[..., None]


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Processor:
    """Makes the machine one whose CPU has these instructions and no GPU."""

    def become(**instructions: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(instructions))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    return become


@pytest.mark.parametrize(("instructions", "expected"), [
    ({"avx2": True}, False), ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
    ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"neon": True, "bf16": True}, True)])
def test_a_cpu_computes_in_bf16_where_it_has_instructions_for_it(processor: Processor, instructions: dict[str, bool],
                                                                 expected: bool) -> None:
    processor(**instructions)
    assert has_bf16(CPU) == expected
    with autocast(CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if expected else torch.float32)
    assert with_precision(TrainConfig()).mixed_precision == ("bf16" if expected else "no")
    for named in ("no", "bf16", "fp16"):
        assert with_precision(TrainConfig(mixed_precision=named)).mixed_precision == named


@pytest.mark.parametrize(("device", "has_instructions", "expected"), [
    ("cuda", True, True), ("cuda", False, False), ("cpu", True, False)])
def test_pictures_for_a_user_are_drawn_in_bf16_on_a_gpu_that_has_it_alone(
        device: str, has_instructions: bool, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported",
                        lambda including_emulation=True: has_instructions or including_emulation)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_instructions})
    monkeypatch.setattr(torch, "autocast", lambda *given, enabled: (*given, enabled))
    assert autocast_on_gpu(torch.device(device)) == (device, torch.bfloat16, expected)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes the machine one with a GPU that has instructions for bf16, or has only an imitation of them."""

    def become(has_instructions: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported",
                            lambda including_emulation=True: has_instructions or including_emulation)

    return become


@pytest.mark.parametrize(("has_instructions", "optimizer", "expected"), [
    (True, "adamw", "bf16"), (True, "muon", "bf16"), (False, "adamw", "fp16"), (False, "muon", "no")])
def test_a_gpu_without_instructions_for_bf16_trains_in_fp16(
        gpu: Callable[[bool], None], has_instructions: bool, optimizer: str, expected: str) -> None:
    """Turing and older; Muon has no fp16."""
    gpu(has_instructions)
    assert has_bf16(torch.device("cuda")) == has_bf16(torch.device("cuda:1")) == has_instructions
    assert with_precision(TrainConfig(optimizer=optimizer)).mixed_precision == expected
    assert with_precision(TrainConfig(device="cpu")).mixed_precision in ("bf16", "no")


def test_a_run_keeps_the_precision_that_it_began_in(processor: Processor, tmp_path: Path) -> None:
    config = small_config(save_base(tmp_path / "base"), save_dataset(tmp_path / "data"), tmp_path / "run",
                          mixed_precision="auto", max_train_steps=2)
    processor(avx2=True)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    assert json.loads((config.output_dir / "config.json").read_text())["settings"]["mixed_precision"] == "no"
    again = run_main(config, tmp_path / "log again")
    assert again.status == 0 and "is complete" in again.output
    processor(avx512_bf16=True)
    elsewhere = run_main(config, tmp_path / "log elsewhere")
    assert elsewhere.status == 1 and "mixed_precision" in elsewhere.output


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_muon_in_fp32_takes_the_steps_that_torchs_takes(shape: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(shape, generator=rng)
    matrices = [torch.nn.Parameter(first.clone()) for _ in range(2)]
    settings = {"lr": 1e-2, "weight_decay": 0.1, "momentum": 0.9, "adjust_lr_fn": "match_rms_adamw"}
    both = [kind([matrix], **settings) for kind, matrix in zip((torch.optim.Muon, _Fp32Muon), matrices, strict=True)]
    for _ in range(5):
        gradient = torch.randn(shape, generator=rng)
        for optimizer, matrix in zip(both, matrices, strict=True):
            matrix.grad = gradient.clone()
            optimizer.step()
    moved = (matrices[0] - first).norm()
    assert (matrices[0] - matrices[1]).norm() < 0.02 * moved  # bf16 has three digits
    averages = [optimizer.state[matrix]["momentum_buffer"] for optimizer, matrix in zip(both, matrices, strict=True)]
    assert torch.allclose(*averages, atol=1e-6)
