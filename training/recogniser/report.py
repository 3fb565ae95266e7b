"""What a trained recogniser is written with: thresholds, and figures on characters that it has never seen."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import torch

from dataset.rows import dataset_hash
from recogniser.config import RecogniserConfig
from recogniser.figures import choose_thresholds, figures, run_network
from recogniser.labels import Vocabulary
from recogniser.network import Recogniser, load_recogniser, save_recogniser
from recogniser.splits import Splits
from recogniser.training_batches import Glyphs, read_glyphs
from recogniser.vae_reconstruction import load_autoencoder, reconstruct

TIMED = 64  # glyphs


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
    vae = load_autoencoder(config.vae)
    reconstructed = None if vae is None else reconstruct(vae, held_out, len(held_out) * 2, 0, config.seed).whole
    found = figures(network, vocabulary, thresholds, glyphs, held_out, references, reconstructed)
    found["milliseconds_per_image"] = _milliseconds(network, glyphs)
    save_recogniser(folder, network, vocabulary, {
        "kind": config.kind, "thresholds": asdict(thresholds), "held_out": found,
        "settings": config.learned_settings(), "calibration_characters": len(calibration),
        "dataset_sha256": dataset_hash(splits.train), "parameters": sum(p.numel() for p in network.parameters()),
    })
    print(json.dumps(found, indent=1, ensure_ascii=False))
    print(f"weights: {folder}")


def _milliseconds(network: Recogniser, glyphs: Glyphs) -> float:
    """How long the network takes for an image, in a batch; the second of two runs."""
    ink = glyphs.ink(torch.arange(min(TIMED, len(glyphs.real))))
    run_network(network, ink)
    start = time.perf_counter()
    run_network(network, ink)
    return 1000.0 * (time.perf_counter() - start) / len(ink)
