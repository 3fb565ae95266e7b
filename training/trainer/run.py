"""A training run from its settings to its pipeline folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from common.device import has_bf16
from common.quiet import known_noise_off
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset, without_prompts
from dataset.rows import Row
from trainer import hub
from trainer.config import TrainConfig, with_epochs
from trainer.loop import TrainingError, TrainingRun
from trainer.run_folder import RunFolder, is_finished

with known_noise_off():
    from accelerate import Accelerator


def train(config: TrainConfig, stop: StopSignals) -> Path:
    """Train as the settings say and return the pipeline folder. The table of contents of a run.

    Raises Stopped, with what was learned saved, where a signal comes in, and UserError, with the way out, where the
    disk or the memory does not suffice or something else that a user can mend is wrong.
    """
    config = with_precision(config)
    if is_finished(config.output_dir, config):
        print(f"{config.output_dir} is complete: {config.output_dir / 'pipeline'}")
        return config.output_dir / "pipeline"
    accelerator = make_accelerator(config)
    run = RunFolder(config.output_dir) if accelerator.is_main_process else None
    try:
        if run is not None:
            hub.check(config)
        rows, extra = _read_rows(config, accelerator.is_main_process)
        config = with_epochs(config, len(rows) + len(extra), accelerator.num_processes)
        return TrainingRun(config, accelerator, rows, run, stop, extra).run_all()
    except OSError as error:
        raise TrainingError(f"{error}. Whole checkpoints are untouched; the same command resumes from the last "
                            "one.") from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory. Lower --train_batch_size (now {config.train_batch_size}) and raise "
            "--gradient_accumulation_steps by the same factor, which learns the same, add --gradient_checkpointing, "
            "lower --cache_budget, or train a LoRA with --lora_rank 8.") from error
    finally:
        if run is not None:
            run.close()


def _read_rows(config: TrainConfig, progress: bool) -> tuple[list[Row], list[Row]]:
    """The rows to train on, and those of the other folders to mix in. Raises DatasetError."""
    rows = read_dataset(config.train_data_dir, "train", config.image_column, config.caption_column, progress)
    if config.held_out_prompts is not None:
        rows = without_prompts(rows, config.held_out_prompts)
    extra = [row for folder in config.extra_data_dir for row in read_dataset(folder, progress=progress)]
    return rows[:config.max_train_samples], extra


def with_precision(config: TrainConfig) -> TrainConfig:
    """The same settings with the precision that `auto` stands for here, so that a run keeps it wherever it is resumed."""
    if config.mixed_precision != "auto":
        return config
    return replace(config, mixed_precision="bf16" if has_bf16(torch.device(device_type(config))) else "no")


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The processes and the device. Raises TrainingError where a GPU is asked for and not there."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: no CUDA GPU can be used here (torch.cuda.is_available() is false). "
                            "Leave the flag out to train on the CPU.")
    on_cpu = device_type(config) == "cpu"
    if on_cpu and config.mixed_precision == "fp16":
        raise TrainingError("--mixed_precision fp16 needs a CUDA GPU; on a CPU use bf16 or no")
    torch.backends.cudnn.benchmark = not config.deterministic
    torch.use_deterministic_algorithms(config.deterministic)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    else:
        torch.set_float32_matmul_precision("high")
    return Accelerator(mixed_precision=config.mixed_precision, cpu=on_cpu)


def device_type(config: TrainConfig) -> str:
    """`cpu` or `cuda`, as the settings say and as this machine has it."""
    return "cpu" if config.device == "cpu" or not torch.cuda.is_available() else "cuda"


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has an exception for it; the CPU's allocator raises a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
