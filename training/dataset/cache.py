"""Pictures and captions, encoded once: the VAE's posterior moments and the text encoder's states.

Glyphs are never flipped or cropped, so the moments (from which each step draws its own latent) and the text states
lose nothing by being kept; and the training loop loads neither VAE nor text encoder. A store is keyed by the encoder's
weights and the dtype, a record in it by the SHA-256 of the picture or caption: a changed picture recomputes that
picture alone, and two runs or two sets share what they have in common.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from common.quiet import known_noise_off
from dataset.captions import with_stroke_tag
from dataset.images import load_image
from dataset.rows import Row
from models.pipelines import module_hash
from models.text import encode_prompts

with known_noise_off():
    from diffusers import AutoencoderKL, StableDiffusionPipeline
    from transformers import PreTrainedTokenizerBase

PICTURE_BATCH_PIXELS = 32 * 128 * 128  # pixels encoded at once; 32 glyphs, or 2 pictures of 512 px
CAPTION_BATCH = 256  # captions encoded at once


class RecordStore:
    """Fixed-size tensors on disk, appended to and never rewritten, found again by key.

    `records.bin` holds them one after another; `keys.txt` names them, a line each, and is written after their bytes are
    on disk. What a crash leaves half-written is beyond the last whole key and is overwritten by the next append.
    """

    def __init__(self, folder: Path, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Open or make the store of `folder`; `shape` and `dtype` are those of one record."""
        self.folder, self.shape, self.dtype = folder, tuple(shape), dtype
        self.record_bytes = torch.Size(shape).numel() * dtype.itemsize
        folder.mkdir(parents=True, exist_ok=True)
        self._records, self._keys = folder / "records.bin", folder / "keys.txt"
        for path in (self._records, self._keys):
            path.touch()
        self.index = {key: place for place, key in enumerate(self._whole_keys())}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that the store does not hold, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self.index]

    def append(self, keys: Sequence[str], records: torch.Tensor) -> None:
        """Add records (N, *shape) under new keys, durably. Raises OSError where the disk refuses; nothing is lost."""
        data = records.detach().cpu().to(self.dtype).contiguous()
        with self._records.open("r+b") as file:
            file.truncate(len(self.index) * self.record_bytes)
            file.seek(0, os.SEEK_END)
            file.write(data.reshape(-1).view(torch.uint8).numpy())
            file.flush()
            os.fsync(file.fileno())
        with self._keys.open("r+b") as file:
            file.truncate(sum(len(key) + 1 for key in self.index))
            file.seek(0, os.SEEK_END)
            file.write("".join(f"{key}\n" for key in keys).encode())
            file.flush()
            os.fsync(file.fileno())
        for key in keys:
            self.index[key] = len(self.index)

    def tensor(self) -> torch.Tensor:
        """All records, (N, *shape), mapped from the file: a row is read from disk when it is used."""
        count = len(self.index)
        if not count:
            return torch.empty((0, *self.shape), dtype=self.dtype)
        size = torch.Size((count, *self.shape)).numel()
        return torch.from_file(str(self._records), shared=False, size=size, dtype=self.dtype).view(count, *self.shape)

    def _whole_keys(self) -> list[str]:
        """The keys whose line and whose record are both whole."""
        lines = self._keys.read_bytes().split(b"\n")[:-1]
        return [line.decode() for line in lines[:self._records.stat().st_size // self.record_bytes]]


class EncodedRows:
    """The encoded form of a dataset for a run: what `moments` and `text` look up in each step."""

    def __init__(self, moments: torch.Tensor, moment_places: torch.Tensor, text: torch.Tensor,
                 text_places: torch.Tensor, empty_place: int, device: torch.device) -> None:
        """Tables: `moments` (N, 2, C, h, w) and `text` (M, tokens, width), on the device or mapped from disk.

        moment_places: int64 (rows,), -1 where a row was not encoded; text_places: int64 (rows, most captions, 2), by
        row, caption or part name, and tag, -1 likewise; empty_place: the row of `text` that is the empty caption.
        """
        self._moments, self._moment_places = moments, moment_places
        self._text, self._text_places, self._empty_place = text, text_places, empty_place
        self._device = device

    def moments(self, rows: torch.Tensor) -> torch.Tensor:
        """Posterior mean and standard deviation, fp32 (B, 2, C, h, w) on the device, of int64 rows (B,)."""
        return self._look_up(self._moments, self._moment_places[rows]).float()

    def text(self, rows: torch.Tensor, caption: torch.Tensor, tagged: torch.Tensor,
             dropped: torch.Tensor) -> torch.Tensor:
        """Encoded captions (B, tokens, width) on the device; the empty caption's where `dropped`."""
        places = self._text_places[rows, caption, tagged.long()]
        return self._look_up(self._text, torch.where(dropped, self._empty_place, places))

    def _look_up(self, table: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        if bool((places < 0).any()):
            raise IndexError("a row or caption was drawn that was not encoded")
        if table.device == self._device:
            return table[to_device(places, self._device)]
        return to_device(table[places], self._device)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move a CPU tensor without waiting for the device: from pinned memory, or the copy would wait for its queue."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def encode_rows(pipeline: StableDiffusionPipeline, rows: Sequence[Row], wanted: torch.Tensor, cache_dir: Path,
                resolution: int, precision: str, device: torch.device, budget_bytes: float) -> EncodedRows:
    """Encode what a run will look at and is not in the cache yet, and open it.

    wanted: bool (rows, most captions, 2), which captions, by row, caption and tag, the run will draw. `precision` is
    the run's mixed precision: `bf16` encodes under bf16 autocast, which on a CPU takes half of the time; `no` and
    `fp16`, which a VAE may overflow, encode in fp32. Moments are kept in fp32, text states in fp16, or in fp32 under
    `no`. Both tables go to `device` where they fit into `budget_bytes`.
    """
    row_wanted = wanted.flatten(1).any(1)
    pictures = [row for row, needed in zip(rows, row_wanted.tolist(), strict=True) if needed]
    texts = {place: _caption_text(rows, *place) for place in map(tuple, wanted.nonzero().tolist())}
    keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in ["", *dict.fromkeys(texts.values())]}

    with _one_builder(cache_dir):  # opened under the lock: another process may have just added what is wanted
        moments = _moment_store(pipeline.vae, cache_dir, resolution, precision)
        states = _text_store(pipeline, cache_dir, precision)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            _encode_pictures(pipeline.vae, moments, pictures, resolution, device)
            _encode_captions(pipeline, states, keys, device)

    moment_places = torch.tensor([moments.index.get(row.sha256, -1) for row in rows])
    text_places = torch.full(wanted.shape, -1)
    for place, text in texts.items():
        text_places[place] = states.index[keys[text]]
    tables = [moments.tensor(), states.tensor()]
    if device.type != "cpu" and sum(table.nbytes for table in tables) <= budget_bytes:
        tables = [table.to(device) for table in tables]
    return EncodedRows(tables[0], moment_places, tables[1], text_places, states.index[keys[""]], device)


def _caption_text(rows: Sequence[Row], row: int, caption: int, tagged: int) -> str:
    text = (rows[row].captions + rows[row].component_names)[caption]
    return with_stroke_tag(text, rows[row].strokes) if tagged else text


def _moment_store(vae: AutoencoderKL, cache_dir: Path, resolution: int, precision: str) -> RecordStore:
    side = resolution // 2 ** (len(vae.config.block_out_channels) - 1)
    folder = cache_dir / f"moments-{module_hash(vae)[:16]}-{resolution}px-{_arithmetic(precision)}"
    return RecordStore(folder, (2, vae.config.latent_channels, side, side), torch.float32)


def _arithmetic(precision: str) -> str:
    return "bf16" if precision == "bf16" else "fp32"


def _text_store(pipeline: StableDiffusionPipeline, cache_dir: Path, precision: str) -> RecordStore:
    tokens, width = pipeline.tokenizer.model_max_length, pipeline.text_encoder.config.hidden_size
    encoder = hashlib.sha256((module_hash(pipeline.text_encoder) + _tokenizer_text(pipeline.tokenizer)).encode())
    kept, dtype = ("fp32", torch.float32) if precision == "no" else ("fp16", torch.float16)
    folder = cache_dir / f"text-{encoder.hexdigest()[:16]}-{tokens}-{_arithmetic(precision)}-{kept}"
    return RecordStore(folder, (tokens, width), dtype)


def _tokenizer_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """All that decides how a tokenizer splits and pads, as text: two bases may share an encoder and not this."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    rules = {name: rule for name, rule in rules.items() if name not in ("truncation", "padding")}  # as last called with
    return f"{json.dumps(rules, sort_keys=True)}{tokenizer.pad_token}{tokenizer.special_tokens_map}"


def _encode_pictures(vae: AutoencoderKL, store: RecordStore, rows: Sequence[Row], resolution: int,
                     device: torch.device) -> None:
    paths = {row.sha256: row.path for row in rows}
    batch_size = max(1, PICTURE_BATCH_PIXELS // resolution**2)

    def encode(keys: Sequence[str]) -> torch.Tensor:
        pictures = [load_image(paths[key], resolution, vae.config.in_channels) for key in keys]
        posterior = vae.encode(torch.stack([torch.from_numpy(picture) for picture in pictures]).to(device)).latent_dist
        return torch.stack([posterior.mean, posterior.std], dim=1)

    _fill(store, list(paths), batch_size, "encoding pictures", vae, device, encode)


def _encode_captions(pipeline: StableDiffusionPipeline, store: RecordStore, keys: dict[str, str],
                     device: torch.device) -> None:
    texts = {key: text for text, key in keys.items()}

    def encode(missing: Sequence[str]) -> torch.Tensor:
        return encode_prompts(pipeline, [texts[key] for key in missing], device)

    _fill(store, list(texts), CAPTION_BATCH, "encoding captions", pipeline.text_encoder, device, encode)


@torch.no_grad()
def _fill(store: RecordStore, keys: Sequence[str], batch_size: int, title: str, encoder: torch.nn.Module,
          device: torch.device, encode: Callable[[Sequence[str]], torch.Tensor]) -> None:
    """Encode the keys that are missing, in batches, with a progress bar; a kill loses one batch at most."""
    missing = store.missing(keys)
    if not missing:
        return
    encoder.to(device).eval()
    with tqdm(total=len(missing), desc=title, unit="row") as bar:
        for start in range(0, len(missing), batch_size):
            batch = missing[start:start + batch_size]
            store.append(batch, encode(batch))
            bar.update(len(batch))
    encoder.cpu()


@contextmanager
def _one_builder(cache_dir: Path) -> Iterator[None]:
    """Let one process at a time add to the cache; another run waits for it and then finds the records there."""
    import fcntl

    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
