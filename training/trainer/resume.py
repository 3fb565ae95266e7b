"""Which checkpoint a run resumes from, and whether it may: what differs is said before anything is encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import checkpoints
from common.errors import UserError
from trainer.config import FREE_AT_RESUME, TrainConfig, as_json
from trainer.learning_rate import changes_before


class ResumeError(UserError):
    """A run that cannot be resumed as it is asked to; the message says what differs and what to do."""


def find_checkpoint(config: TrainConfig, facts: Mapping[str, Any],
                    say: Callable[[str], None] = print) -> checkpoints.Checkpoint | None:
    """The whole checkpoint to resume from, or None where the run folder has none: then the run begins at step 0.

    facts: hashes of the data and the base and the number of processes, which must be those of the checkpoint. Why a
    damaged checkpoint is skipped goes to `say`. Raises ResumeError where settings or facts differ, and CheckpointError
    where one that was asked for by name is not whole.
    """
    if config.resume_from_checkpoint == "latest":
        found = checkpoints.latest(config.output_dir, say)
        if found is None and checkpoints.listing(config.output_dir):
            say(f"no whole checkpoint is left in {config.output_dir}: beginning at step 0")
    else:
        found = _named(config)
    if found is not None:
        differing = differing_settings(found.manifest["settings"], config)
        differing += [f"{name}: was {found.manifest.get(name)}, is {value}" for name, value in facts.items()
                      if found.manifest.get(name) != value]
        if differing:
            raise ResumeError(f"{found.path} was made with other settings:\n  " + "\n  ".join(differing) +
                              "\nUse those to resume, or name another --output_dir to start afresh.")
        _refuse_other_rates(config, found)
    return found


def differing_settings(stored: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """The settings that must not differ between a run and its continuation but do, each in words.

    A setting that one of the two versions of the trainer does not have is not compared.
    """
    now = as_json(config)
    return [f"--{name}: was {stored[name]!r}, is {now[name]!r}" for name in now
            if name in stored and name not in FREE_AT_RESUME and stored[name] != now[name]]


def _named(config: TrainConfig) -> checkpoints.Checkpoint:
    name = Path(config.resume_from_checkpoint).name
    there = [path.name for path in checkpoints.listing(config.output_dir)]
    if name not in there:
        raise ResumeError(f"--resume_from_checkpoint {name}: not in {config.output_dir}; there are: "
                          f"{', '.join(there) or 'none'}")
    return checkpoints.verify(config.output_dir / name)


def _refuse_other_rates(config: TrainConfig, found: checkpoints.Checkpoint) -> None:
    """Raise ResumeError where the updates done would have been others under the new number of steps."""
    old = replace(config, max_train_steps=found.manifest["settings"]["max_train_steps"])
    if found.step > config.max_train_steps:
        raise ResumeError(f"--max_train_steps {config.max_train_steps}: {found.path} has {found.step} updates already")
    if changes_before(old, config, found.step):
        raise ResumeError(
            f"--max_train_steps was {old.max_train_steps}, is {config.max_train_steps}: under --lr_scheduler "
            f"{config.lr_scheduler} the {found.step} updates done would have had other learning rates, so a longer run "
            "would not have come by here. Keep the number, or start afresh in another --output_dir with --lr_scheduler "
            "constant_with_warmup (whose last --lr_cooldown_steps fall to zero), which can be prolonged.")
