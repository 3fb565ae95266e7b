"""The first part of the GPU's trial: is a resumed run a straight one, and does a step wait for the GPU?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks.gpu_cases import machine, on_gpu, write
from common.settings import as_flags
from trainer.config import TrainConfig
from training_fixtures import save_base, save_dataset, small_config

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8
AT_ONCE = 4  # runs, of which each has a GPU's memory for itself many times over
VARIANTS = {
    "bf16": {"mixed_precision": "bf16"},
    "fp16": {"mixed_precision": "fp16"},
    "fp32": {"mixed_precision": "no"},
    "LoRA": {"mixed_precision": "bf16", "lora_rank": 4},
    "recomputing": {"mixed_precision": "bf16", "gradient_checkpointing": True},
    "half weights": {"mixed_precision": "bf16", "half_weights": True},
    "Muon": {"mixed_precision": "bf16", "optimizer": "muon"},
    "no cache budget": {"mixed_precision": "bf16", "cache_budget": 0.0},
}
Run = Callable[[TrainConfig, Path], None]


@dataclass(frozen=True)
class Compared:
    """A run beside one that was resumed."""

    variant: str
    deterministic: bool
    must_be_equal: bool
    differences: dict[str, float]
    """The tensors that differ, by name, and by how much at most; one that only one of the two has, by infinity."""

    @property
    def holds(self) -> bool:
        """Whether what is promised of it holds."""
        return not (self.must_be_equal and self.differences)


def correctness(output: Path, run: Run | None = None, variants: Sequence[str] = tuple(VARIANTS),
                steps: int = STEPS) -> bool:
    """Compare the variants, write correctness.json and correctness.md, and print the table; whether all of it holds."""
    run = start if run is None else run
    base, data = save_base(output / "base"), save_dataset(output / "data")
    todo = [(name, deterministic) for name, deterministic in product(variants, (False, True))
            if on_gpu() or VARIANTS[name]["mixed_precision"] != "fp16"]

    def compare(one: tuple[str, bool]) -> Compared:
        name, deterministic = one
        config = small_config(base, data, output / f"{name.replace(' ', '-')}{'-deterministic' * deterministic}", **{
            "cache_dir": output / "cache", "max_train_steps": steps, "checkpointing_steps": steps // 2,
            "lr_scheduler": "constant", "deterministic": deterministic, "device": "auto", **VARIANTS[name]})
        return Compared(name, deterministic, deterministic or not on_gpu(), straight_and_resumed(config, run))

    with ThreadPoolExecutor(AT_ONCE if on_gpu() else 1) as pool:
        compared = list(pool.map(compare, todo))
    waits = what_waits(small_config(base, data, output / "step", cache_dir=output / "cache", mixed_precision="bf16",
                                    device="auto")) if on_gpu() else None
    text = table(compared, waits)
    write(output / "correctness.json", {
        **machine(), "step_waits": waits, "compared": [{**vars(one), "holds": one.holds} for one in compared]})
    (output / "correctness.md").write_text(text)
    print(text)
    return all(one.holds for one in compared) and not waits


def straight_and_resumed(config: TrainConfig, run: Run) -> dict[str, float]:
    """Train once at a stretch and once with a new process from the middle on; returns what differs in the end."""
    straight, resumed = (replace(config, output_dir=config.output_dir / name) for name in ("straight", "resumed"))
    run(straight, config.output_dir)
    run(replace(resumed, max_train_steps=config.max_train_steps // 2), config.output_dir)
    run(resumed, config.output_dir)
    last = f"checkpoint-{config.max_train_steps:06d}"
    return differences(straight.output_dir / last, resumed.output_dir / last)


def differences(one: Path, other: Path) -> dict[str, float]:
    """The tensors of two checkpoints that do not have the same bits, and by how much they differ at most."""
    ours, theirs = ({f"{file.stem} {name}": tensor for file in sorted(folder.glob("*.safetensors"))
                     for name, tensor in load_file(file).items()} for folder in (one, other))
    found = {}
    for name in ours | theirs:
        if name not in ours or name not in theirs:
            found[name] = float("inf")
        elif not torch.equal(_bits(ours[name]), _bits(theirs[name])):
            found[name] = (ours[name].double() - theirs[name].double()).abs().max().item()
    return found


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's bytes: NaN is then equal to itself, and 0 is not -0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def start(config: TrainConfig, folder: Path) -> None:
    """The trainer's command in a process of its own; its output goes into the folder. Ends all where it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        ended = subprocess.run([sys.executable, ROOT / "training/train_text_to_image.py", *as_flags(config)],
                               stdout=log, stderr=subprocess.STDOUT, check=False)
    if ended.returncode:
        sys.exit(f"error: a run ended with status {ended.returncode}; {folder / 'log.txt'} has why")


def what_waits(config: TrainConfig) -> str | None:
    """Do a step under CUDA's watch on what waits for the device; returns what does, or None."""
    from common.stop_signals import StopSignals
    from dataset.captioned_folder import read_dataset
    from trainer.loop import TrainingRun
    from trainer.parts import build_parts
    from trainer.run import make_accelerator

    accelerator = make_accelerator(config)
    rows = read_dataset(config.train_data_dir, progress=False)
    run = TrainingRun(config, accelerator, build_parts(config, accelerator, rows), None, StopSignals())
    upcoming = run.parts.batches.from_step(0, config.max_train_steps)
    for _ in range(3):  # the libraries choose kernels, and the optimizer makes its state
        run.train_step(next(upcoming))
        run.step += 1
    batches = next(upcoming)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.train_step(batches)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
        upcoming.close()
    return None


def table(compared: Sequence[Compared], waits: str | None) -> str:
    """The comparison in Markdown."""
    lines = ["| | --deterministic | resumed and straight | promised |", "| --- | --- | --- | --- |"]
    for one in compared:
        found = one.differences
        said = f"{len(found)} tensors differ, by {max(found.values()):.2g} at most" if found else "equal, every bit"
        promised = ("held" if one.holds else "NOT HELD") if one.must_be_equal else "nothing"
        lines.append(f"| {one.variant} | {'yes' if one.deterministic else 'no'} | {said} | {promised} |")
    if on_gpu():
        lines += ["", f"a step waits for the GPU: {waits or 'nowhere'}"]
    return "\n".join(lines) + "\n"

