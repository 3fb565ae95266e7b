"""The third part of the GPU's trial: does each preset run in the memory of the card that it is for?"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import train_step
from benchmarks.gpu_cases import PART_S, Result, Run, measure_cases, on_gpu, start

GIB = 2**30
# What of a card of 8, 24 and 80 GB is left to torch's allocator: GiB; CUDA itself and a desktop have the rest.
CARDS = {"8gb": 7.0, "80gb": 78.0, "": 22.5}
STEPS = 3  # two before a checkpoint and samples, and one after them, when memory is in other pieces


def presets() -> list[str]:
    """Those for a GPU, the largest first."""
    from trainer.presets import PRESETS

    return sorted((name for name in PRESETS if name != "tiny"), key=lambda name: -card_gib(name))


def card_gib(preset: str) -> float:
    """What of its card a preset may use."""
    return next(size for ending, size in CARDS.items() if preset.endswith(ending))


def peaks(output: Path, run: Run | None = None, of: Sequence[str] | None = None, limit_s: float = PART_S) -> bool:
    """Run the presets, write peaks.json and peaks.md, and print the table; whether each ran in its card's memory."""
    of = presets() if of is None else of
    results = measure_cases(output, "peaks", of, run or partial(start, "peaks"), limit_s)
    text = table(results)
    (output / "peaks.md").write_text(text)
    print(text)
    return not any("failed" in result for result in results.values())


def measure(preset: str, output: Path) -> Result:
    """Train, sample and save once under a preset with its card's memory, on random weights of its base's sizes.

    What the set's tables may take of the device is taken from the start. Without a GPU it is a small base, and nothing
    is held against a card.
    """
    limit, base = card_gib(preset), preset.removesuffix("-8gb").removesuffix("-80gb")
    if on_gpu():
        torch.cuda.set_per_process_memory_fraction(limit * GIB / torch.cuda.get_device_properties(0).total_memory)
    began, work = time.perf_counter(), output / f"peaks-{preset}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        run, estimated = training_run(preset, base if on_gpu() else "small", work)
        tables = torch.empty(int(run.config.cache_budget * 1e9) if on_gpu() else 0, dtype=torch.uint8,
                             device=run.accelerator.device)
        train_sample_and_save(run)
        del tables
        checkpoint = sum(path.stat().st_size for path in work.glob("run/checkpoint-*/*"))
    finally:
        shutil.rmtree(work)
    from trainer.run_folder import peak_memory_gb

    peak = torch.cuda.max_memory_reserved() / GIB if on_gpu() else peak_memory_gb(torch.device("cpu")) * 1e9 / GIB
    return {"card_gib": limit, "peak_gib": peak, "estimated_gib": estimated / GIB, "checkpoint_gb": checkpoint / 1e9,
            "seconds": time.perf_counter() - began}


def training_run(preset: str, base: str, work: Path) -> tuple[Any, float]:
    """The preset's run on a base that is built here, and the bytes that the trainer says that it takes."""
    from common.stop_signals import StopSignals
    from dataset.captioned_folder import read_dataset
    from models.families import family_of
    from trainer import memory, parts
    from trainer.config import with_precision
    from trainer.loop import TrainingRun
    from trainer.presets import PRESETS
    from trainer.run import make_accelerator
    from trainer.run_folder import RunFolder

    torch.manual_seed(0)
    pipeline = train_step.build(base)
    parts.load_pipeline = lambda *_: pipeline
    config = replace(PRESETS[preset], train_data_dir=work / "data", output_dir=work / "run", cache_dir=work / "cache",
                     max_train_steps=STEPS, resolution=train_step.BASES[base][0])
    if not on_gpu():
        config = replace(config, train_batch_size=2, gradient_accumulation_steps=2, num_inference_steps=2)
    config = with_precision(config)
    train_step.save_images(config.train_data_dir, 2 * config.train_batch_size, config.resolution, base)
    accelerator = make_accelerator(config)
    rows = read_dataset(config.train_data_dir, progress=False)
    estimated = memory.estimate(config, pipeline.unet, family_of(pipeline),
                                config.resolution // pipeline.vae_scale_factor, 1, accelerator.device).total
    return TrainingRun(config, accelerator, parts.build_parts(config, accelerator, rows), RunFolder(work / "run"),
                       StopSignals()), estimated


def train_sample_and_save(run: Any) -> None:
    """What takes memory in a run."""
    with run.upcoming() as batches:
        for batch in batches:
            run.train_step(batch)
            run.step += 1
            if run.step == STEPS - 1:
                run.draw_samples()
                run.save()
    train_step.synchronise()
    run.folder.close()


def table(results: dict[str, Result]) -> str:
    """The figures in Markdown."""
    lines = ["| preset | of its card | max_memory_reserved | estimated | checkpoint |",
             "| --- | --- | --- | --- | --- |"]
    for preset, one in results.items():
        if "failed" in one:
            lines.append(f"| {preset} | {card_gib(preset)} GiB | {one['failed']} | | |")
            continue
        lines.append(f"| {preset} | {one['card_gib']} GiB | {one['peak_gib']:.2f} GiB | "
                     f"{one['estimated_gib']:.2f} GiB | {one['checkpoint_gb']:.1f} GB |")
    if not on_gpu():
        lines += ["", "without a GPU: a small base, and the memory of the whole process"]
    return "\n".join(lines) + "\n"
