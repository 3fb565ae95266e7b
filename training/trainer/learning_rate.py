"""The learning rate as a function of the step, so that there is no scheduler state to save."""

from __future__ import annotations

from common.schedules import cosine, warm_up
from trainer.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of update number `step` (from 0), by the schedules that diffusers' `get_scheduler` names."""
    if config.lr_scheduler == "constant":
        rise, fall = 1.0, _cooldown(config, step)
    else:
        rise = warm_up(step, config.lr_warmup_steps)
        done = max(0, step - config.lr_warmup_steps) / max(1, config.max_train_steps - config.lr_warmup_steps)
        fall = {
            "constant_with_warmup": _cooldown(config, step),
            "linear": 1.0 - min(1.0, done),
            "cosine": cosine(min(1.0, done)),
        }[config.lr_scheduler]
    return config.learning_rate * rise * fall


def changes_before(old: TrainConfig, new: TrainConfig, step: int) -> bool:
    """Whether two settings differ in the rate of any update before `step`: then one cannot go on as the other."""
    if old.max_train_steps == new.max_train_steps and old == new:
        return False
    return any(learning_rate(old, done) != learning_rate(new, done) for done in range(step))


def _cooldown(config: TrainConfig, step: int) -> float:
    if not config.lr_cooldown_steps:
        return 1.0
    return min(1.0, (config.max_train_steps - step) / config.lr_cooldown_steps)
