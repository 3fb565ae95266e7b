"""Which checkpoint a run resumes from, and whether it may: what differs is said before anything is encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import checkpoints
from common.errors import UserError
from common.settings import MAY_DIFFER, as_json, with_current_names
from trainer.config import CAPTION_DROPOUT, TrainConfig
from trainer.learning_rate import changes_before
from trainer.optimizers import MUON_MOMENTUM

# Settings of older versions that are constants now: a run that had another value cannot be resumed.
_CONSTANTS = {"caption_dropout": CAPTION_DROPOUT, "muon_momentum": MUON_MOMENTUM}
_OLD_PROVENANCE = {"recogniser_sha256": "reward_model_sha256"}  # what older manifests call an entry


class ResumeError(UserError):
    """A run that cannot be resumed as it is asked to; the message says why and what to do."""


def find_checkpoint(config: TrainConfig, provenance: Mapping[str, Any],
                    say: Callable[[str], None] = print) -> checkpoints.Checkpoint | None:
    """The whole checkpoint to resume from, or None where the run folder has none: then the run begins at step 0.

    provenance: hashes of the data and the models and the samples of an update, which must be those of the checkpoint.
    Why a damaged checkpoint is skipped goes to `say`. Raises CheckpointError where settings or provenance differ, or
    where a checkpoint that was asked for by name is not whole, and ResumeError where it is not there or the learning
    rates of the updates done would have been others.
    """
    if config.resume_from_checkpoint == "latest":
        found = checkpoints.latest(config.output_dir, say)
        if found is None and checkpoints.listing(config.output_dir):
            say(f"no whole checkpoint is left in {config.output_dir}: beginning at step 0")
    else:
        found = _named(config)
    if found is None:
        return None
    found = replace(found, manifest=_with_current_names(found.manifest))
    checkpoints.require_same_settings(found, as_json(config, without=MAY_DIFFER) | _CONSTANTS, provenance)
    _refuse_other_rates(config, found)
    return found


def _with_current_names(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's manifest, of whatever version, by the names that its entries and settings have today."""
    current = {_OLD_PROVENANCE.get(name, name): value for name, value in manifest.items()}
    settings = with_current_names(TrainConfig, current["settings"])
    if "processes" in current:  # each of which had batches of its own then
        current["samples_per_update"] = (settings["train_batch_size"] * settings["gradient_accumulation_steps"]
                                         * current["processes"])
    return {**current, "settings": settings}


def _named(config: TrainConfig) -> checkpoints.Checkpoint:
    name = Path(config.resume_from_checkpoint).name
    there = [path.name for path in checkpoints.listing(config.output_dir)]
    if name not in there:
        raise ResumeError(f"--resume_from_checkpoint {name}: not in {config.output_dir}; there are: "
                          f"{', '.join(there) or 'none'}")
    return checkpoints.verify(config.output_dir / name)


def _refuse_other_rates(config: TrainConfig, found: checkpoints.Checkpoint) -> None:
    """Raise ResumeError where the updates done would have been others under the new numbers of steps."""
    numbers = ("max_train_steps", "lr_cooldown_steps")
    before = {name: found.manifest["settings"].get(name, getattr(config, name)) for name in numbers}
    if found.step > config.max_train_steps:
        raise ResumeError(f"--max_train_steps {config.max_train_steps}: {found.path} has {found.step} updates already")
    if changes_before(replace(config, **before), config, found.step):
        changed = " and ".join(f"--{name} was {before[name]}, is {getattr(config, name)}" for name in numbers
                               if before[name] != getattr(config, name))
        raise ResumeError(
            f"{changed}: under --lr_scheduler {config.lr_scheduler} the {found.step} updates done would have had other "
            "learning rates, so a run of these numbers would have learned something else by here. Keep them, or start "
            "afresh in another --output_dir with --lr_scheduler constant_with_warmup, which can be prolonged until its "
            "last --lr_cooldown_steps begin.")
