"""Weights & Biases beside metrics.jsonl, through accelerate's trackers, as diffusers' scripts have it.

wandb is not in requirements.txt: it is asked for where a run reports to it.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from common.errors import UserError, first_line
from common.files import write_text
from common.quiet import known_noise_off
from trainer.config import TrainConfig, public_settings

with known_noise_off():
    from accelerate import Accelerator
    from accelerate.utils import is_wandb_available

WANDB = "wandb"
RUN_ID = "wandb-id.txt"  # in the run folder: what is resumed goes on in the same run there


class TrackerError(UserError):
    """A tracker that cannot be used; the message says what to do."""


def wanted_trackers(config: TrainConfig) -> list[str] | None:
    """What an Accelerator is to log with; TensorBoard is written by the run folder itself."""
    return [WANDB] if config.report_to in (WANDB, "all") else None


def check(config: TrainConfig) -> None:
    """Before anything is read: raise TrackerError where what the run reports to is not installed."""
    if wanted_trackers(config) and not is_wandb_available():
        raise TrackerError(f"--report_to {config.report_to}: wandb is not installed. Install it with `pip install "
                           "wandb`, or leave the flag out: metrics.jsonl and TensorBoard are written anyway.")


class Trackers:
    """What a run reports to beside its folder. One that fails says so once and is left alone: the run goes on."""

    def __init__(self, accelerator: Accelerator, config: TrainConfig) -> None:
        """Start what the settings ask for. To be made in the main process alone, after `check`.

        The settings are sent without paths of this machine. Raises TrackerError where it cannot be started, as for want
        of a login.
        """
        self._accelerator, self._failed = accelerator, False
        if wanted_trackers(config):
            options = {"name": config.output_dir.resolve().name, "dir": str(config.output_dir), "resume": "allow",
                       "id": _run_id(config.output_dir)}
            try:
                accelerator.init_trackers(config.tracker_project_name, config=public_settings(config),
                                          init_kwargs={WANDB: options})
            except Exception as error:  # a login, a route, a mode that is none: wandb names each its way
                why = first_line(error).rstrip(".")
                raise TrackerError(f"--report_to {config.report_to}: wandb cannot be started ({why}). Log in with "
                                   "`wandb login`, set WANDB_MODE=offline, or leave the flag out.") from None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Report values of a step (updates done)."""
        self._each(lambda tracker: tracker.log(dict(values), step=step))

    def log_grid(self, step: int, grid: Image.Image) -> None:
        """Report the sample grid of a step."""
        self._each(lambda tracker: tracker.log_images({"samples": [grid]}, step=step))

    def close(self) -> None:
        """End the report, which may take as long as sending the rest of it does."""
        self._each(lambda tracker: tracker.finish())
        self._accelerator.trackers = []

    def _each(self, act: Callable[[object], None]) -> None:
        for tracker in () if self._failed else self._accelerator.trackers:
            try:
                act(tracker)
            except Exception as error:
                self._failed = True
                print(f"{tracker.name}: nothing more is reported to it ({first_line(error)}); metrics.jsonl has it all",
                      file=sys.stderr)


def _run_id(folder: Path) -> str:
    """The run's id at wandb, made and kept in its folder at the first time."""
    path = folder / RUN_ID
    if not path.is_file():
        write_text(path, secrets.token_hex(4) + "\n")
    return path.read_text(encoding="utf8").strip()
