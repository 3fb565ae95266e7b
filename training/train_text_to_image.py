"""Fine-tune a Stable Diffusion base on captioned pictures.

    python training/train_text_to_image.py --preset tiny --train_data_dir data/kanji --output_dir runs/tiny

The flags are those that users of diffusers' text-to-image script know; `--help` lists them with their units, and
`--dry-run` prints what would run. The same command again goes on where it stopped. The run folder holds config.json,
command.txt, metrics.jsonl, samples/, checkpoint-*/, and at the end pipeline/, a diffusers folder with its model card.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the libraries load: the end, without a traceback
import torch_environment  # noqa: F401 - before torch

# isort: split

import torch

import publish
from bases import BaseError
from captioned_dataset import DatasetError, read_dataset, without_prompts
from checkpoints import CheckpointError
from command_line import UserError, parse_train_config
from compile_check import CompileError
from config import TrainConfig, as_json, with_epochs
from judging import JudgeError
from loss import LossError
from precision import has_bf16
from quiet import known_noise_off
from resume import ResumeError
from run_folder import RunError, RunFolder, is_finished
from stop_signals import Stopped, StopSignals

with known_noise_off():
    from accelerate import Accelerator

    from training_run import TrainingError, TrainingRun

USER_ERRORS = (BaseError, CheckpointError, CompileError, DatasetError, JudgeError, LossError, ResumeError, RunError,
               TrainingError, UserError, publish.PublishError)


def main() -> None:
    """Parse, train, and turn a user's mistake into one message and a non-zero exit status."""
    config = parse_train_config(sys.argv[1:], description=__doc__)
    if config.dry_run:
        print(json.dumps(as_json(with_precision(config)), indent=1))
        return
    try:
        train(config)
    except USER_ERRORS as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error}. Whole checkpoints are untouched; the same command goes on from the last one.")
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        sys.exit(f"error: out of memory. Lower --train_batch_size (now {config.train_batch_size}) and raise "
                 "--gradient_accumulation_steps by the same factor, which learns the same, add "
                 "--gradient_checkpointing, lower --cache_budget, or train a LoRA with --lora_rank 8.")


def train(config: TrainConfig) -> Path:
    """Train as the settings say and return the pipeline folder. The table of contents of a run.

    Stopped by a signal it saves what was learned and exits with status 143 or 130.
    """
    config = with_precision(config)
    if is_finished(config.output_dir, config):
        print(f"{config.output_dir} is complete: {config.output_dir / 'pipeline'}")
        return config.output_dir / "pipeline"
    accelerator = make_accelerator(config)
    run = None
    try:
        with StopSignals() as stop:
            if accelerator.is_main_process:
                run = RunFolder(config.output_dir)
                publish.check(config)
            rows = read_dataset(config.train_data_dir, "train", config.image_column, config.caption_column,
                                progress=accelerator.is_main_process)
            if config.held_out_prompts is not None:
                rows = without_prompts(rows, config.held_out_prompts)
            rows = rows[:config.max_train_samples]
            extra = [row for folder in config.extra_data_dir
                     for row in read_dataset(folder, progress=accelerator.is_main_process)]
            config = with_epochs(config, len(rows) + len(extra), accelerator.num_processes)
            return TrainingRun(config, accelerator, rows, run, stop, extra).run_all()
    except Stopped as stopped:
        accelerator.print(f"stopped by {stopped}; the same command goes on from here", file=sys.stderr)
        sys.exit(stopped.exit_status)
    finally:
        if run is not None:
            run.close()


def with_precision(config: TrainConfig) -> TrainConfig:
    """The same settings with the precision that `auto` stands for here, so that a run keeps it wherever it goes on."""
    if config.mixed_precision != "auto":
        return config
    return replace(config, mixed_precision="bf16" if has_bf16(torch.device(_device_type(config))) else "no")


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The processes and the device. Raises TrainingError where a GPU is asked for and not there."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: no CUDA GPU can be used here (torch.cuda.is_available() is false). "
                            "Leave the flag out to train on the CPU.")
    on_cpu = _device_type(config) == "cpu"
    if on_cpu and config.mixed_precision == "fp16":
        raise TrainingError("--mixed_precision fp16 needs a CUDA GPU; on a CPU use bf16 or no")
    torch.backends.cudnn.benchmark = not config.deterministic
    torch.use_deterministic_algorithms(config.deterministic)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    else:
        torch.set_float32_matmul_precision("high")
    return Accelerator(mixed_precision=config.mixed_precision, cpu=on_cpu)


def _device_type(config: TrainConfig) -> str:
    return "cpu" if config.device == "cpu" or not torch.cuda.is_available() else "cuda"


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA has an exception for it; the CPU's allocator raises a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


if __name__ == "__main__":
    main()
