"""The run folder: one owner at a time, what was asked for, and what happened."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch
from PIL import Image

from common.device import choose_device, machine_name
from common.errors import UserError
from common.files import save_image, write_text
from common.settings import as_json
from trainer.config import TrainConfig
from trainer.run_lock import LOCK, RunLock
from trainer.trackers import Trackers

CONFIG, COMMAND, METRICS = "config.json", "command.txt", "metrics.jsonl"
REPORTED_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors")


class RunError(UserError):
    """A run folder that cannot be used as asked; the message says why and what to do."""


class RunFolder:
    """An open run folder. Only the main process opens one; the lock falls with its owner, however that ends."""

    def __init__(self, path: Path) -> None:
        """Make the folder where needed and take its lock. Raises UserError where another run holds it."""
        self.path = path
        if path.exists() and not path.is_dir():
            raise RunError(f"--output_dir {path}: is a file")
        if path.is_dir() and any(path.iterdir()) and not (path / CONFIG).exists() and not (path / LOCK).exists():
            raise RunError(f"--output_dir {path}: holds something else than a run; name an empty or new folder")
        self._lock = RunLock(path)
        self._metrics: IO[str] | None = None
        self._tensorboard: Any = None
        self.trackers: Trackers | None = None

    def close(self) -> None:
        """Close the reports and give the lock back; nothing is left of a run that has written nothing."""
        for report in (self._metrics, self._tensorboard, self.trackers):
            if report is not None:
                report.close()
        self._lock.release()

    def write_settings(self, config: TrainConfig, provenance: dict[str, Any]) -> None:
        """Write config.json (settings, versions, machine, hashes) and add the exact command to command.txt."""
        packages = {name: importlib.metadata.version(name) for name in REPORTED_PACKAGES}
        content = {"settings": as_json(config), "python": platform.python_version(), "packages": packages,
                   "git_commit": _git_commit(), "machine": machine_name(choose_device(config.device)), **provenance}
        write_text(self.path / CONFIG, json.dumps(content, indent=1, sort_keys=True) + "\n")
        with (self.path / COMMAND).open("a", encoding="utf8") as file:
            file.write(" ".join(["python", *map(_quoted, sys.argv)]) + "\n")

    def open_reports(self, step: int, tensorboard: bool) -> None:
        """Open metrics.jsonl, cut back to what was known at `step` (updates done), and TensorBoard beside it.

        One that is damaged is set aside under another name, which is said, and what can be read of it is kept.
        """
        path = self.path / METRICS
        lines, damaged = read_metrics(path)
        if damaged:
            aside = path.with_name(f"{path.stem}.damaged-{time.time_ns()}{path.suffix}")
            path.rename(aside)
            print(f"{path}: {damaged}; it is kept as {aside.name}, and what can be read of it resumed")
        write_text(path, "".join(f"{line.decode()}\n" for line in lines if _step_of(line) <= step))
        self._metrics = path.open("a", encoding="utf8")
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=step)

    def report(self, step: int, values: dict[str, float]) -> None:
        """Add a line to metrics.jsonl, points to TensorBoard, and what the trackers take.

        What is not finite is null in the first, since JSON has no word. Under fp16 the norm of the gradients is
        infinite where the scale of the loss was too large; the scaler leaves that update out and lowers the scale.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._metrics.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        self._metrics.flush()
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, step)
        if self.trackers is not None:
            self.trackers.log(step, values)

    def grid_path(self, step: int) -> Path:
        """Where the sample grid of a step lies, whole or not at all: samples/step-000500.png."""
        return self.path / "samples" / f"step-{step:06d}.png"

    def save_grid(self, step: int, grid: Image.Image) -> Path:
        """Save a sample grid."""
        path = self.grid_path(step)
        path.parent.mkdir(exist_ok=True)
        save_image(grid, path)
        if self._tensorboard is not None:
            import numpy as np

            self._tensorboard.add_image("samples", np.asarray(grid.convert("RGB")), step, dataformats="HWC")
        if self.trackers is not None:
            self.trackers.log_grid(step, grid)
        return path


def peak_memory_gb(device: torch.device) -> float:
    """Peak memory so far in GB (10**9 bytes): the device's on CUDA, the process's resident set else."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    import resource

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024) / 1e9


def read_metrics(path: Path) -> tuple[list[bytes], str | None]:
    """The whole lines of metrics.jsonl, and what is wrong with it, if anything; a last line that is cut off is not."""
    try:
        *lines, last = path.read_bytes().split(b"\n")  # b"" where the last line is whole
    except FileNotFoundError:
        return [], None
    except OSError as error:
        return [], f"cannot be read ({error.strerror})"
    damaged = [str(number) for number, line in enumerate(lines, 1) if _step_of(line) is None]
    problem = f"damaged in line {', '.join(damaged[:8])}{', ...' if len(damaged) > 8 else ''}" if damaged else None
    return [line for line in [*lines, last] if _step_of(line) is not None], problem


def logged_metrics(run: Path) -> list[dict[str, Any]]:
    """What can be read of a run folder's metrics.jsonl, line by line; nothing where there is none."""
    return [json.loads(line) for line in read_metrics(run / METRICS)[0]]


def _step_of(line: bytes) -> int | None:
    try:
        return int(json.loads(line.decode())["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _git_commit() -> str | None:
    command: Sequence[str] = ("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD")
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _quoted(argument: str) -> str:
    import shlex

    return shlex.quote(argument)
