"""The VAE and the text encoder at work on a dataset: each keeps what it has encoded in a store of its own.

A store is keyed by the encoder's weights and the dtype, a record in it by the SHA-256 of the picture or caption: a
changed picture recomputes that picture alone, and two runs or two sets share what they have in common. A record is a
function of its picture or caption alone, whatever it was encoded with: all batches have one size, since a library
chooses its kernels by that, and with them how sums are rounded.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from common.quiet import known_noise_off
from dataset.images import load_image
from dataset.record_store import RecordStore
from dataset.rows import Row
from models.families import encode_prompts
from models.pipelines import module_hash

with known_noise_off():
    from diffusers import AutoencoderKL, StableDiffusionPipeline
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

IMAGE_BATCH = 32  # pictures encoded at once, of 128 px and less
IMAGE_BATCH_PIXELS = IMAGE_BATCH * 128**2  # of larger ones fewer: 2 of 512 px
CAPTION_BATCH = 32  # captions encoded at once
READERS = 8  # threads that read the pictures of the next batch while one is encoded; decoding frees the interpreter
WRITE_BYTES = 2**24  # of records that are kept back until they are written: each time waits for the disk twice
STORE_VERSION = 2  # to be raised where a key's record changes: pictures read another way, batches of another size


@dataclass(frozen=True)
class EncodingSettings:
    """How rows are encoded, and where what comes of it is kept."""

    cache_dir: Path
    resolution: int
    """px of a side, to which pictures are brought."""
    precision: str
    """The run's mixed precision: `bf16` encodes under bf16 autocast, which on a CPU takes half of the time; `no` and
    `fp16`, which a VAE may overflow, encode in fp32."""
    device: torch.device
    budget_bytes: float
    """Up to this size the tables are held on the device."""
    progress: bool = True
    """Whether a bar is shown."""

    @property
    def arithmetic(self) -> str:
        """What the encoders compute in, as the stores are named."""
        return "bf16" if self.precision == "bf16" else "fp32"

    @property
    def embeds_dtype(self) -> torch.dtype:
        """What encoded captions are kept in; posterior moments are in fp32 always."""
        return torch.float32 if self.precision == "no" else torch.float16


def image_store(vae: AutoencoderKL, settings: EncodingSettings) -> RecordStore:
    """The store of posterior moments, fp32 (2, C, h, w) by the picture's SHA-256, with what is in it so far."""
    side = settings.resolution // 2 ** (len(vae.config.block_out_channels) - 1)
    name = f"moments-{module_hash(vae)[:16]}-{settings.resolution}px-{settings.arithmetic}-v{STORE_VERSION}"
    return RecordStore(settings.cache_dir / name, (2, vae.config.latent_channels, side, side), torch.float32)


def fill_images(store: RecordStore, vae: AutoencoderKL, rows: Sequence[Row], settings: EncodingSettings) -> None:
    """Encode the pictures of these rows that an image_store lacks."""
    by_key = {row.sha256: row for row in rows}

    def read(key: str) -> Future[np.ndarray]:
        return readers.submit(load_image, by_key[key], settings.resolution, vae.config.in_channels)

    def encode(images: Sequence[Future[np.ndarray]]) -> torch.Tensor:
        pixels = torch.stack([torch.from_numpy(image.result()) for image in images]).to(settings.device)
        posterior = vae.encode(pixels).latent_dist
        return torch.stack([posterior.mean, posterior.std], dim=1)

    batch_size = min(IMAGE_BATCH, max(1, IMAGE_BATCH_PIXELS // settings.resolution**2))
    with ThreadPoolExecutor(READERS, thread_name_prefix="pictures") as readers:
        _fill(store, list(by_key), batch_size, "encoding pictures", vae, read, encode, settings)


def caption_store(pipeline: StableDiffusionPipeline, settings: EncodingSettings) -> RecordStore:
    """The store of prompt embeddings, (tokens, width) by `caption_key`, with what is in it so far."""
    tokens, width = pipeline.tokenizer.model_max_length, pipeline.text_encoder.config.hidden_size
    encoder = hashlib.sha256((module_hash(pipeline.text_encoder) + _tokenizer_rules(pipeline.tokenizer)).encode())
    kept_in = "fp32" if settings.embeds_dtype == torch.float32 else "fp16"
    name = f"text-{encoder.hexdigest()[:16]}-{tokens}-{settings.arithmetic}-{kept_in}-v{STORE_VERSION}"
    return RecordStore(settings.cache_dir / name, (tokens, width), settings.embeds_dtype)


def fill_captions(store: RecordStore, pipeline: StableDiffusionPipeline, captions: Sequence[str],
                  settings: EncodingSettings) -> None:
    """Encode those of these captions that a caption_store lacks."""
    by_key = {caption_key(caption): caption for caption in captions}

    def encode(some: Sequence[str]) -> torch.Tensor:
        return encode_prompts(pipeline, some, settings.device)

    with known_noise_off():
        _fill(store, list(by_key), CAPTION_BATCH, "encoding captions", pipeline.text_encoder, by_key.get, encode,
              settings)


def caption_key(caption: str) -> str:
    """What a caption's record is found by."""
    return hashlib.sha256(caption.encode()).hexdigest()


def _tokenizer_rules(tokenizer: PreTrainedTokenizerBase) -> str:
    """All that decides how a tokenizer splits and pads, as text: two bases may share an encoder and not this."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    rules = {name: rule for name, rule in rules.items() if name not in ("truncation", "padding")}  # as last called with
    return f"{json.dumps(rules, sort_keys=True)}{tokenizer.pad_token}{tokenizer.special_tokens_map}"


@torch.no_grad()
def _fill(store: RecordStore, keys: Sequence[str], batch_size: int, title: str, encoder: torch.nn.Module,
          read: Callable[[str], T], encode: Callable[[Sequence[T]], torch.Tensor], settings: EncodingSettings) -> None:
    """Encode the keys that are missing, in batches, with a progress bar; a kill loses WRITE_BYTES of records at most.

    `read` gives, or begins to make, what is encoded of a key: it is called one batch ahead. Records that are damaged
    are said and encoded anew. The last batch is filled up with what its last key has.
    """
    if damaged := len(store.forget_damaged(keys)) + store.damaged_lines:
        print(f"{store.folder}: {damaged} damaged record{'s' * (damaged > 1)} in the cache, not used; what this run "
              "needs of them is encoded anew", file=sys.stderr)
    missing = store.missing(keys)
    if not missing:
        return
    encoder.to(settings.device).eval()
    bar = tqdm(total=len(missing), desc=title, unit="row", disable=not settings.progress)
    with _one_arithmetic(settings), bar:
        pending, encoded = [], []
        following = [read(key) for key in missing[:batch_size]]
        for start in range(0, len(missing), batch_size):
            batch, end = missing[start:start + batch_size], start + batch_size
            being, following = following, [read(key) for key in missing[end:end + batch_size]]
            pending += batch
            encoded.append(encode([*being, *being[-1:] * (batch_size - len(being))])[:len(being)])
            bar.update(len(batch))
            if len(pending) * store.record_bytes >= WRITE_BYTES or batch[-1] == missing[-1]:
                store.append(pending, torch.cat(encoded))
                pending, encoded = [], []
    encoder.cpu()


@contextmanager
def _one_arithmetic(settings: EncodingSettings) -> Iterator[None]:
    """Compute in what the store is named for, whatever a run has set for its own: other runs read the store too."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
              torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.arithmetic == "bf16")):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
