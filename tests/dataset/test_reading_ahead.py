"""No device waits for pictures that could have been read before."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset import encoders
from dataset.captioned_folder import read_dataset
from dataset.encoders import EncodingSettings, fill_images, image_store
from dataset.images import load_image
from dataset.rows import Row
from models.pipelines import load_pipeline
from training_fixtures import save_dataset


def test_the_pictures_of_the_next_batch_are_read_while_one_is_encoded(
        base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, was_read = read_dataset(save_dataset(tmp_path / "data", count=6), progress=False), threading.Event()
    vae, waited = load_pipeline(str(base)).vae, []

    def load(row: Row, *arguments: int) -> np.ndarray:
        if row is rows[-1]:
            was_read.set()
        return load_image(row, *arguments)

    monkeypatch.setattr(encoders, "load_image", load)
    monkeypatch.setattr(encoders, "IMAGE_BATCH", len(rows) - 1)
    vae.encoder.register_forward_pre_hook(lambda *_: waited.append(was_read.wait(60)))
    settings = EncodingSettings(tmp_path / "cache", 32, "no", torch.device("cpu"), 0.0)
    store = image_store(vae, settings)
    fill_images(store, vae, rows, settings)
    assert waited == [True, True] and not store.missing([row.sha256 for row in rows])
