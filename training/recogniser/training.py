"""The recogniser's training: the loop, and the state that it updates."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from common import checkpoints
from common.device import autocast
from common.errors import DivergenceError
from common.schedules import cosine, warm_up
from common.stop_signals import StopSignals
from dataset.rows import Row
from recogniser.config import KINDS, RecogniserConfig
from recogniser.labels import Vocabulary
from recogniser.losses import LOSS_WEIGHTS, loss_terms
from recogniser.network import Recogniser
from recogniser.splits import Splits
from recogniser.training_batches import Batch, GlyphBatches, Reconstructions, read_glyphs
from recogniser.vae_reconstruction import load_autoencoder, reconstruct

WARMUP_STEPS = 200
MAX_GRADIENT_NORM = 2.0
LOGGING_STEPS = 50


def train(splits: Splits, config: RecogniserConfig, stop: StopSignals) -> tuple[Recogniser, Vocabulary]:
    """Train, or resume training; raises Stopped with a checkpoint saved, DivergenceError before a bad update."""
    rows = splits.training
    vocabulary = Vocabulary.of(rows)
    state = TrainState(len(vocabulary), sum(not row.is_composed for row in rows), config)
    step = state.resume(config.output_dir)
    if step == config.steps:
        return state.network.eval(), vocabulary
    batches = GlyphBatches(read_glyphs(rows, vocabulary), config.batch_size, config.seed, config.steps,
                           _reconstructions(rows, config))
    metrics = (config.output_dir / "metrics.jsonl").open("a", encoding="utf8")
    with metrics, tqdm(total=config.steps, initial=step, desc="recogniser", unit="step") as bar:
        while step < config.steps:
            with stop.deferred():
                losses = state.update(batches[step], step)
                step += 1
                if step % config.checkpointing_steps == 0 or step == config.steps or stop.received is not None:
                    state.save(config.output_dir, step)
                if step % LOGGING_STEPS == 0:
                    print(json.dumps({"step": step, **losses}), file=metrics, flush=True)
                    bar.set_postfix({name: f"{value:.2f}" for name, value in losses.items()})
            bar.update()
            stop.check()
    return state.network.eval(), vocabulary


class TrainState:
    """The network, what is trained beside it and not kept, and the optimizer."""

    def __init__(self, components: int, characters: int, config: RecogniserConfig) -> None:
        """`components` is the size of the vocabulary, `characters` that of the glyphs told apart by identity."""
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = Recogniser(KINDS[config.kind], components).to(memory_format=torch.channels_last)
            self.identities = torch.nn.Parameter(torch.randn(characters, KINDS[config.kind].embedding) * 0.1)
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW([{"params": decayed}, {"params": plain, "weight_decay": 0.0},
                                            {"params": [self.identities], "weight_decay": 0.0}],
                                           lr=config.learning_rate, betas=(0.9, 0.98),
                                           weight_decay=config.weight_decay, fused=True)

    def update(self, batch: Batch, step: int) -> dict[str, float]:
        """One update; returns the losses. Raises DivergenceError, before the update, where they are not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config)
        with autocast(torch.device("cpu")):
            output = self.network(batch.ink.contiguous(memory_format=torch.channels_last))
        terms = loss_terms(output, batch, self.identities)
        loss = sum(LOSS_WEIGHTS[name] * term for name, term in terms.items())
        if not math.isfinite(loss.item()):
            raise DivergenceError(f"the recogniser's loss is {loss.item()} at step {step}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {name: round(term.item(), 4) for name, term in terms.items()}

    def save(self, run_dir: Path, step: int) -> None:
        """Write a checkpoint; the newest two are kept."""
        files = {"network": self.network.state_dict(), "identities": {"identities": self.identities},
                 "optimizer": checkpoints.optimizer_tensors(self.optimizer)}
        checkpoints.save(run_dir, step, files, {"settings": self.config.learned_settings()}, limit=2)

    def resume(self, run_dir: Path) -> int:
        """Load the newest whole checkpoint; returns the updates done. Raises CheckpointError on other settings."""
        run_dir.mkdir(parents=True, exist_ok=True)
        found = checkpoints.latest(run_dir, warn=tqdm.write)
        if found is None:
            return 0
        checkpoints.require_same_settings(found, self.config.learned_settings())
        self.network.load_state_dict(found.tensors("network"))
        self.identities.data.copy_(found.tensors("identities")["identities"])
        checkpoints.load_optimizer_tensors(self.optimizer, found.tensors("optimizer"))
        return found.step


def learning_rate(step: int, config: RecogniserConfig) -> float:
    """A linear warm-up, times a cosine to zero."""
    return config.learning_rate * warm_up(step, WARMUP_STEPS) * cosine(step / config.steps)


def _reconstructions(rows: Sequence[Row], config: RecogniserConfig) -> Reconstructions | None:
    """The autoencoder's distortions; None, with a message, where there is no autoencoder."""
    vae = load_autoencoder(config.vae)
    if vae is None:
        print(f"{config.vae}: no autoencoder there; training runs without its reconstructions among the distortions")
        return None
    return reconstruct(vae, rows, config.vae_reconstructed, config.vae_reconstructed // 2, config.seed)
