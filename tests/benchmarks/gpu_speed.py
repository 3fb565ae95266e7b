"""The second part of the GPU's trial: images/s beside the stock recipe and beside the GPU's own bf16 rate."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType

from benchmarks import train_step
from benchmarks.gpu_cases import PART_S, Result, Run, measure_cases, on_gpu, start

KERNELS = 10  # of a profile, those that take most of the time, which are told by name


@dataclass(frozen=True)
class Case:
    """One training step to be measured."""

    base: str
    batch_size: int
    trainer: str
    """`ours` or `stock`."""
    compile: bool = False
    compile_mode: str = "default"
    half_weights: bool = False
    compress_gradients: str = "no"
    processes: int = 1
    """Each with batches of that size, on a GPU of its own."""

    @property
    def name(self) -> str:
        """What it is called in the JSON."""
        return f"{self.base} {self.batch_size} {self.what.replace(',', '')}"

    @property
    def what(self) -> str:
        """What is measured, in words: ours, compiled, half weights."""
        said = {"compiled": self.compile, f"{self.compile_mode}": self.compile_mode != "default",
                "half weights": self.half_weights, f"{self.processes} processes": self.processes > 1,
                f"gradients in {self.compress_gradients}": self.compress_gradients != "no"}
        return ", ".join([self.trainer, *(words for words, holds in said.items() if holds)])


def cases() -> list[Case]:
    """What is measured here, what matters most first: a part that runs out of time loses its end."""
    if not on_gpu():  # where compiling takes minutes
        return [Case("small", 4, "ours"), Case("small", 4, "stock"), Case("small", 4, "ours", half_weights=True),
                Case("small", 4, "ours", processes=2, compress_gradients="fp16")]
    nano, graphs = partial(Case, "sd-nano", 64, "ours"), {"compile": True, "compile_mode": "reduce-overhead"}
    gpus = torch.cuda.device_count()
    several = [nano(processes=gpus, compress_gradients=precision) for precision in ("no", "bf16") if gpus > 1]
    return [
        nano(), Case("sd-nano", 64, "stock"), nano(compile=True), Case("sd14", 16, "ours"), Case("sd14", 16, "stock"),
        nano(half_weights=True), nano(**graphs), nano(**graphs, half_weights=True), *several,
        Case("sd-nano", 256, "ours"), Case("sd-nano", 32, "ours"), Case("sd14", 16, "ours", compile=True),
        nano(compile=True, half_weights=True), Case("sd-nano", 256, "ours", compile=True),
        Case("sd-nano", 32, "ours", compile=True),
    ]


def speed(output: Path, run: Run | None = None, of: Sequence[Case] | None = None, limit_s: float = PART_S) -> bool:
    """Measure the cases, write speed.json and speed.md, and print the table; whether all were measured."""
    of = cases() if of is None else of
    results = measure_cases(output, "speed", [case.name for case in of], run or start_case, limit_s)
    text = table(of, results)
    (output / "speed.md").write_text(text)
    print(text)
    return not any("failed" in result for result in results.values())


def start_case(name: str, folder: Path, timeout_s: float) -> Result:
    """Measure a case in processes of its own."""
    return start("speed", name, folder, timeout_s, case_of(name).processes)


def case_of(name: str) -> Case:
    """The case of that name."""
    return next(one for one in cases() if one.name == name)


def measure(name: str, steps: int = 20) -> Result:
    """One case, in this process: images/s, the fraction of the bf16 rate, peak memory, and a profile of a step."""
    case = case_of(name)
    options = Namespace(base=case.base, batch_size=case.batch_size, worker=case.trainer, mixed_precision="bf16",
                        no_ema=False, steps=steps if on_gpu() else 2,
                        **{setting: getattr(case, setting) for setting in train_step.SETTINGS})
    result = train_step.measure(options, kernels)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    step_ms = 1e3 * case.batch_size * case.processes / result["images_per_s"]
    return {**result, "step_ms": step_ms, "busy": result["kernel_ms"] / step_ms}


def kernels(step: Callable[[], None]) -> dict[str, Any]:
    """What runs in one step: milliseconds of all kernels (of torch's own operations on a CPU), and the longest.

    The profiler is begun once before, since its first beginning takes long.
    """
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu() else torch.profiler.ProfilerActivity.CPU
    for _ in range(train_step.PROFILED):
        train_step.synchronise()
        with torch.profiler.profile(activities=[activity]) as profile:
            step()
            train_step.synchronise()
    kind, field = ((DeviceType.CUDA, "self_device_time_total") if on_gpu() else
                   (DeviceType.CPU, "self_cpu_time_total"))
    found = sorted(((getattr(event, field) / 1e3, event.count, event.key) for event in profile.key_averages()
                    if event.device_type == kind and not event.is_user_annotation), reverse=True)
    return {"kernel_ms": sum(ms for ms, *_ in found), "kernels": sum(count for _, count, _ in found),
            "longest": [{"ms": round(ms, 3), "count": count, "kernel": key} for ms, count, key in found[:KERNELS]]}


def table(of: Sequence[Case], results: dict[str, Result]) -> str:
    """The figures in Markdown."""
    lines = ["| base | batch | | images/s | beside stock | of the measured bf16 rate | peak memory | kernels / step |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for case in of:
        one, what = results[case.name], case.what
        if "failed" in one:
            lines.append(f"| {case.base} | {case.batch_size} | {what} | {one['failed']} | | | | |")
            continue
        stock = results.get(Case(case.base, case.batch_size, "stock").name, {}).get("images_per_s")
        ratio = f"{one['images_per_s'] / case.processes / stock:.2f}" if stock else ""  # a GPU beside a GPU
        lines.append(
            f"| {case.base} | {case.batch_size} | {what} | {one['images_per_s']:.1f} | {ratio} | "
            f"{one['fraction']:.1%} | {one['peak_gb']:.1f} GB | {one['kernel_ms']:.1f} / {one['step_ms']:.1f} ms, "
            f"{one['busy']:.0%} |")
    return "\n".join(lines) + "\n"
