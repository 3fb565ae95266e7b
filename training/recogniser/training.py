"""The recogniser's training: batches, loss terms, updates, checkpoints."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from tqdm import tqdm

from common import checkpoints
from common.device import autocast
from common.errors import DivergenceError
from common.paths import TINY_DIR
from common.quiet import known_noise_off
from common.schedules import cosine, warm_up
from common.stop_signals import StopSignals
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.rows import Row, dataset_hash
from recogniser.figures import choose_thresholds, figures, run_network
from recogniser.labels import Vocabulary
from recogniser.network import Recogniser, Shape, load_recogniser, save_recogniser
from recogniser.training_batches import Batch, GlyphBatches, Glyphs, Reconstructed, read_glyphs
from recogniser.vae_reconstruction import reconstruct

with known_noise_off():
    from diffusers import AutoencoderKL

KINDS = {
    # name            channels at 1/2, 1/4, 1/8    blocks at each    embedding      block
    "judge":  Shape(widths=(32, 64, 160), depths=(1, 2, 3), embedding=128, block="plain"),      # 2.1 M parameters
    "second": Shape(widths=(24, 56, 144), depths=(0, 2, 4), embedding=96, block="depthwise"),  # 0.8 M
}  # fmt: skip
CALIBRATION_PART = 20  # one in so many real characters of the train split is kept for the thresholds
IDENTITY_SCALE = 20.0  # logits of "which character is this" are cosines times this


@dataclass(frozen=True)
class RecogniserConfig:
    """Settings of the recogniser's training."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder that dataExtraction/main.py made, with train/ and test/."""
    output_dir: Path = Path("runs/recogniser")
    """Checkpoints, metrics.jsonl and, at the end, weights/. The same command again resumes where it stopped."""
    kind: Literal["judge", "second"] = "judge"
    """The judge, or the smaller second one."""
    steps: int = 6000
    """Optimizer updates."""
    batch_size: int = 96
    """Glyphs an update."""
    learning_rate: float = 3e-3
    """Peak; 200 steps of warm-up, then a cosine to zero."""
    weight_decay: float = 0.03
    """Decoupled weight decay."""
    vae: Path = TINY_DIR / "vae"
    """The autoencoder whose round trip is one of the distortions; without one this distortion is left out."""
    vae_reconstructed: int = 4000
    """Glyphs sent through it before training; half as many are latent_mixed."""
    checkpointing_steps: int = 500
    """Updates between checkpoints."""
    seed: int = 0
    """Every draw of step n is a function of (seed, n)."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        for name in ("steps", "batch_size", "checkpointing_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.batch_size < 16:
            raise ValueError(f"--batch_size {self.batch_size}: must be at least 16, so that all kinds are in it")


def is_calibration(row: Row) -> bool:
    """Whether a row of the train split is kept for choosing thresholds: real, and by a stable hash of its character."""
    literal = row.metadata.get("literal")
    digest = hashlib.sha256(f"calibration {literal}".encode()).digest()
    return bool(literal) and not row.is_composed and digest[0] * 256 + digest[1] < 65536 // CALIBRATION_PART


@dataclass(frozen=True)
class Splits:
    """The rows of the set: all of the train split, its two parts, and the held-out characters."""

    train: Sequence[Row]
    training: Sequence[Row]
    calibration: Sequence[Row]
    held_out: Sequence[Row]


def read_splits(folder: Path) -> Splits:
    """Read the dataset folder and set the calibration characters aside. Raises DatasetError."""
    rows, held_out = (read_dataset(folder, split) for split in ("train", "test"))
    _check_labels(rows, folder)
    return Splits(rows, [row for row in rows if not is_calibration(row)],
                  [row for row in rows if is_calibration(row)], held_out)


def train(splits: Splits, config: RecogniserConfig, stop: StopSignals) -> tuple[Recogniser, Vocabulary]:
    """Train, or resume training; raises Stopped with a checkpoint saved, DivergenceError before a bad update."""
    rows = splits.training
    vocabulary = Vocabulary.of(row.metadata for row in rows)
    train_state = TrainState(vocabulary, sum(not row.is_composed for row in rows), config)
    step = train_state.resume(config.output_dir)
    if step == config.steps:
        return train_state.network.eval(), vocabulary
    batches = GlyphBatches(read_glyphs(rows, vocabulary), config.batch_size, config.seed, config.steps,
                           _vae_reconstructed(rows, config))
    metrics = (config.output_dir / "metrics.jsonl").open("a", encoding="utf8")
    with metrics, tqdm(total=config.steps, initial=step, desc="recogniser", unit="step") as bar:
        while step < config.steps:
            with stop.deferred():
                losses = train_state.update(batches[step], step)
                step += 1
                if step % config.checkpointing_steps == 0 or step == config.steps or stop.received is not None:
                    train_state.save(config.output_dir, step)
                if step % 50 == 0:
                    print(json.dumps({"step": step, **losses}), file=metrics, flush=True)
                    bar.set_postfix({name: f"{value:.2f}" for name, value in losses.items()})
            bar.update()
            stop.check()
    return train_state.network.eval(), vocabulary


class TrainState:
    """The network, what is trained beside it and not kept, and the optimizer."""

    def __init__(self, vocabulary: Vocabulary, characters: int, config: RecogniserConfig) -> None:
        """`characters` is the number of glyphs that can be told apart by identity."""
        self.config = config
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.network = Recogniser(KINDS[config.kind], len(vocabulary)).to(memory_format=torch.channels_last)
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
            seen = self.network(batch.ink.contiguous(memory_format=torch.channels_last))
        terms = losses(seen, batch, self.identities)
        loss = sum(LOSS_WEIGHTS[name] * term for name, term in terms.items())
        if not math.isfinite(loss.item()):
            raise DivergenceError(f"the recogniser's loss is {loss.item()} at step {step}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {name: round(term.item(), 4) for name, term in terms.items()}

    def save(self, run_dir: Path, step: int) -> None:
        """Write a checkpoint; the newest two are kept."""
        files = {"network": self.network.state_dict(), "identities": {"identities": self.identities},
                 "optimizer": checkpoints.optimizer_tensors(self.optimizer)}
        checkpoints.save(run_dir, step, files, {"settings": _settings(self.config)}, limit=2)

    def resume(self, run_dir: Path) -> int:
        """Load the newest whole checkpoint; returns the updates done. Raises CheckpointError on other settings."""
        run_dir.mkdir(parents=True, exist_ok=True)
        found = checkpoints.latest(run_dir, warn=tqdm.write)
        if found is None:
            return 0
        checkpoints.require_same_settings(found, _settings(self.config))
        self.network.load_state_dict(found.tensors("network"))
        self.identities.data.copy_(found.tensors("identities")["identities"])
        checkpoints.load_optimizer_tensors(self.optimizer, found.tensors("optimizer"))
        return found.step


LOSS_WEIGHTS = {"parts": 1.0, "strokes": 0.15, "stroke_error": 0.1, "well_formed": 0.5, "identity": 0.15}


def losses(seen: Any, batch: Batch, identities: torch.Tensor) -> dict[str, torch.Tensor]:
    """The terms of the loss; each is a mean over what the batch asks.

    parts: cross-entropy over the slots, summed a glyph; strokes: cross-entropy to a narrow bump about the count;
    stroke_error: strokes; well_formed: binary cross-entropy; identity: which real character of the set it is.
    """
    slots, rows = batch.slots, batch.slots[:, 0, 0] != -1
    rows = (batch.slots >= 0).flatten(1).any(1)
    logits = seen.parts.flatten(0, 1)
    parts = sum(F.cross_entropy(logits, slots[..., place].flatten(), ignore_index=-1, reduction="sum")
                for place in range(slots.shape[-1])) / (slots.shape[-1] * rows.sum())
    counted = batch.strokes > 0
    count = batch.strokes[counted].float()
    bump = torch.exp(-((torch.arange(seen.strokes.shape[-1]) - count[:, None]) ** 2) / (2 * 0.7**2))
    bump = bump / bump.sum(-1, keepdim=True)
    asked, known = batch.well_formed >= 0, batch.identity >= 0
    cosines = seen.embedding[known] @ F.normalize(identities, dim=-1).T
    return {
        "parts": parts,
        "strokes": F.cross_entropy(seen.strokes[counted].float(), bump),
        "stroke_error": (seen.expected_strokes()[counted] - count).abs().mean(),
        "well_formed": F.binary_cross_entropy_with_logits(seen.well_formed[asked].float(), batch.well_formed[asked]),
        "identity": F.cross_entropy(IDENTITY_SCALE * cosines, batch.identity[known]),
    }


def learning_rate(step: int, config: RecogniserConfig) -> float:
    """Warm-up over 200 steps, times a cosine to zero."""
    return config.learning_rate * warm_up(step, 200) * cosine(step / config.steps)


def report(network: Recogniser, vocabulary: Vocabulary, config: RecogniserConfig, splits: Splits) -> None:
    """Choose thresholds, save, load again what was saved, measure that, and write the figures beside it."""
    calibration, held_out = splits.calibration, splits.held_out
    folder = config.output_dir / "weights"
    save_recogniser(folder, network, vocabulary, {})
    network, vocabulary, _ = load_recogniser(folder)
    calibration_glyphs, glyphs = read_glyphs(calibration, vocabulary), read_glyphs(held_out, vocabulary)
    thresholds = choose_thresholds(network, vocabulary, calibration_glyphs, calibration)
    real = read_glyphs([row for row in splits.training if not row.is_composed], vocabulary)
    references = run_network(network, real.ink(torch.arange(len(real.real)))).embedding
    vae = _autoencoder(config)
    vae_reconstructed = None if vae is None else reconstruct(vae, held_out, len(held_out) * 2, 0, config.seed).whole
    found = figures(network, vocabulary, thresholds, glyphs, held_out, references, vae_reconstructed)
    found["milliseconds_a_picture"] = _milliseconds(network, glyphs)
    save_recogniser(folder, network, vocabulary, {
        "kind": config.kind, "thresholds": asdict(thresholds), "held_out": found, "settings": _settings(config),
        "calibration_characters": len(calibration), "dataset_sha256": dataset_hash(splits.train),
        "parameters": sum(p.numel() for p in network.parameters()),
    })
    print(json.dumps(found, indent=1, ensure_ascii=False))
    print(f"weights: {folder}")


def _milliseconds(network: Recogniser, glyphs: Glyphs) -> float:
    ink = glyphs.ink(torch.arange(min(64, len(glyphs.real))))
    run_network(network, ink)
    start = time.perf_counter()
    run_network(network, ink)
    return 1000.0 * (time.perf_counter() - start) / len(ink)


def _vae_reconstructed(rows: Sequence[Row], config: RecogniserConfig) -> Reconstructed | None:
    """The autoencoder's distortions; None, with a message, where there is no autoencoder."""
    vae = _autoencoder(config)
    if vae is None:
        print(f"{config.vae}: no autoencoder there; training goes on without its round trip among the distortions")
        return None
    return reconstruct(vae, rows, config.vae_reconstructed, config.vae_reconstructed // 2, config.seed)


def _autoencoder(config: RecogniserConfig) -> AutoencoderKL | None:
    if not (config.vae / "config.json").is_file():
        return None
    return AutoencoderKL.from_pretrained(config.vae, use_safetensors=True)


def _check_labels(rows: Sequence[Row], folder: Path) -> None:
    if not any(row.metadata.get("components") for row in rows):
        raise DatasetError(f"{folder}: its rows have no components, so there is nothing to recognise. The kanji set "
                           "has them: python dataExtraction/main.py")


def _settings(config: RecogniserConfig) -> dict[str, Any]:
    kept = ("kind", "steps", "batch_size", "learning_rate", "weight_decay", "vae_reconstructed", "seed")
    return {name: getattr(config, name) for name in kept}
