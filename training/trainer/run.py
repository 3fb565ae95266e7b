"""A training run from its settings to its pipeline folder."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch

from common.device import choose_device
from common.quiet import known_noise_off
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset, without_prompts
from dataset.rows import Row
from trainer import hub, trackers
from trainer.config import TrainConfig, with_epochs, with_precision
from trainer.finished import input_digests, is_finished, mark_finished
from trainer.loop import TrainingError, TrainingRun
from trainer.parts import build_parts
from trainer.processes import by_main_alone, told_by_main
from trainer.run_folder import RunFolder

with known_noise_off():
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

# What is said where memory runs out by torch's CPU allocator, by the CUDA driver, by cuBLAS and cuDNN, and by NCCL.
OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
                 "CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
                 "'out of memory'")

# How long processes wait for one: while the main one draws samples and saves, or one machine encodes the set.
PROCESS_GROUP_TIMEOUT = timedelta(hours=2)


def train(config: TrainConfig, stop: StopSignals) -> Path:
    """Train as the settings say and return the pipeline folder. The table of contents of a run.

    Raises Stopped, with what was learned saved, where a signal comes in, and UserError, with the way out, where the
    disk or the memory does not suffice or something else that a user can mend is wrong.
    """
    config = with_precision(config)
    accelerator = make_accelerator(config)
    if told_by_main(accelerator, lambda: is_finished(config.output_dir, config)):
        accelerator.print(f"{config.output_dir} is complete: {config.output_dir / 'pipeline'}")
        return config.output_dir / "pipeline"
    folder = by_main_alone(accelerator, lambda: RunFolder(config.output_dir))
    try:
        by_main_alone(accelerator, lambda: check_processes(config, accelerator.num_processes))
        by_main_alone(accelerator, lambda: trackers.check(config))
        by_main_alone(accelerator, lambda: hub.check(config))
        if folder is not None:
            inputs = input_digests(config)  # as they are now, before they are read
        rows, extra = _read_rows(config, accelerator.is_main_process)
        config = with_epochs(config, len(rows) + len(extra), accelerator.num_processes)
        if (started := by_main_alone(accelerator, lambda: trackers.Trackers(accelerator, config))) is not None:
            folder.trackers = started
        parts = build_parts(config, accelerator, rows, extra)
        pipeline = TrainingRun(config, accelerator, parts, folder, stop).run_all()
        if folder is not None:
            mark_finished(folder.path, config, inputs)
        return pipeline
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
        if folder is not None:
            folder.close()


def _read_rows(config: TrainConfig, progress: bool) -> tuple[list[Row], list[Row]]:
    """The rows to train on, and those of the other folders to mix in. Raises DatasetError."""
    rows = read_dataset(config.train_data_dir, "train", config.image_column, config.caption_column, progress,
                        config.captions_from)
    if config.held_out_prompts is not None:
        rows = without_prompts(rows, config.held_out_prompts)
    extra = [row for folder in config.extra_data_dir for row in read_dataset(folder, progress=progress)]
    return rows[:config.max_train_samples], extra


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The processes and the device. Raises UserError where a GPU is asked for or needed and not there."""
    on_cpu = choose_device(config.device).type == "cpu"
    if on_cpu and config.mixed_precision == "fp16":
        raise TrainingError("--mixed_precision fp16 needs a CUDA GPU; on a CPU use bf16 or no")
    if on_cpu and config.compress_gradients == "bf16":  # torch refuses it
        raise TrainingError("--compress_gradients bf16 needs a CUDA GPU; between CPUs use fp16 or no")
    torch.backends.cudnn.benchmark = not config.deterministic
    torch.use_deterministic_algorithms(config.deterministic)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    else:
        torch.set_float32_matmul_precision("high")
    return Accelerator(mixed_precision=config.mixed_precision, cpu=on_cpu, log_with=trackers.wanted_trackers(config),
                       kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_GROUP_TIMEOUT)])


def check_processes(config: TrainConfig, processes: int) -> None:
    """Raise TrainingError where several processes cannot train under these settings."""
    if config.half_weights and processes > 1:
        raise TrainingError(f"--half_weights is for one process, and these are {processes}: leave it out. "
                            "--compress_gradients shares gradients in half precision.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch's CUDA allocator has an exception for it, what else allocates only a message."""
    said = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in said for words in OUT_OF_MEMORY)
