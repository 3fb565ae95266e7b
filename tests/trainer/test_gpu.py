"""What a GPU does otherwise than a CPU, as far as it can be tried without one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from dataset.batches import Batch
from models.families import family_of
from models.noise_schedule import NoiseSchedule
from models.pipelines import load_pipeline
from models.tiny import save_untrained
from trainer.config import TrainConfig
from trainer.losses import DiffusionTerm
from trainer.run_folder import RunFolder
from trainer.train_state import PRECISIONS, TrainState
from training_fixtures import batch_of, run_main, small_config

CPU = torch.device("cpu")


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{"cache_dir": bench / "cache", **changes})


def learner(bench: Path, accelerator: Accelerator | None = None,
            **changes) -> tuple[TrainState, Callable[[], torch.Tensor]]:
    """What is trained, and a pass that gives the scalar loss of one batch."""
    pipeline = load_pipeline(str(bench / "base"))
    state = TrainState(pipeline.unet, family_of(pipeline), config_of(bench, Path("unused"), **changes),
                       accelerator or Accelerator(cpu=True, mixed_precision="no"))
    term = DiffusionTerm(family_of(pipeline), NoiseSchedule(pipeline.scheduler, CPU), 5.0)
    rng = torch.Generator().manual_seed(0)
    batch: Batch = batch_of(torch.randn(2, 4, 16, 16, generator=rng), torch.randn(2, 4, 16, 16, generator=rng),
                            torch.tensor([10, 700]), torch.randn(2, 77, 32, generator=rng))

    def loss() -> torch.Tensor:
        precision = PRECISIONS[state.config.mixed_precision]
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            return term(state.forward, batch).mean()

    return state, loss


# --- several GPUs in one machine -------------------------------------------------------------------------------------

def test_no_generator_of_another_gpu_is_touched(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch forks those of all GPUs unless told otherwise: a context in the memory of each, and a warning."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda *_: pytest.fail("the generator of a GPU was read"))
    save_untrained(tmp_path / "tiny", seed=0)
    ended = run_main(config_of(bench, tmp_path / "run", max_train_steps=1, lora_rank=2), tmp_path / "log")
    assert ended.status == 0, ended.output
    assert "available devices" not in ended.output


@pytest.mark.parametrize(("precision", "hook"), [
    ("no", None), ("fp16", default_hooks.fp16_compress_hook), ("bf16", default_hooks.bf16_compress_hook)])
def test_gradients_are_shared_by_the_hook_of_their_precision(
        precision: str, hook: object, bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch would refuse bf16 here; two processes on CPUs share in fp16 in test_processes.py."""
    hooks: list[object] = []

    class Shared(torch.nn.Module):
        def __init__(self, module: torch.nn.Module, **_named: object) -> None:
            super().__init__()

        def register_comm_hook(self, state: object, hook: object) -> None:
            hooks.append(hook)

    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", Shared)
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    learner(bench, compress_gradients=precision)
    assert hooks == ([] if hook is None else [hook])


# --- fp16 ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("half_weights", [False, True])
def test_an_update_whose_gradients_overflow_under_fp16_is_left_out_and_the_scale_lowered(
        half_weights: bool, bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    monkeypatch.setattr(accelerator.state, "_mixed_precision", "fp16")  # which it has on a GPU alone
    accelerator.native_amp = True
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-120)
    state, loss = learner(bench, accelerator, lr_scheduler="constant", use_ema=False, mixed_precision="fp16",
                          half_weights=half_weights)
    kept = {name: weight.detach().clone() for name, weight in state.trained.items()}
    with state.accumulate(last=True):
        accelerator.scaler.scale(100.0 * loss()).backward()
    assert not state.update(0).isfinite()
    assert all(torch.equal(weight, kept[name]) for name, weight in state.trained.items())
    assert accelerator.scaler.get_scale() == state.manifest()["grad_scaler"]["scale"] == 2.0**7
    with state.accumulate(last=True):
        accelerator.scaler.scale(loss()).backward()
    assert state.update(1).isfinite()
    assert not all(torch.equal(weight, kept[name]) for name, weight in state.trained.items())


def test_what_is_not_finite_is_null_in_metrics_which_stay_json(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    try:
        folder.open_reports(0, tensorboard=True)
        folder.report(1, {"loss": 0.5, "gradient_norm": math.inf})
    finally:
        folder.close()

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is no JSON")

    (line,) = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse) == {"step": 1, "loss": 0.5, "gradient_norm": None}


# --- waiting for the device ------------------------------------------------------------------------------------------

class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a GPU to know a number: .item(), bool(), and where() of what is true."""

    def __torch_dispatch__(self, function: object, types: object, arguments: tuple = (),
                           named: dict | None = None) -> object:
        name = str(function)
        assert not name.startswith(("aten._local_scalar_dense", "aten.nonzero")), f"{name} waits for the device"
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize("changes", [{}, {"mixed_precision": "bf16", "half_weights": True}])
def test_nothing_in_a_step_waits_for_the_device(changes: dict, bench: Path) -> None:
    state, loss = learner(bench, **changes)
    with state.accumulate(last=True):
        loss().backward()
    state.update(0)  # the optimizer makes its state
    with NoWaiting():
        with state.accumulate(last=True):
            loss().backward()
        state.update(1)


def test_what_would_wait_is_found() -> None:
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        torch.ones(()).item()
