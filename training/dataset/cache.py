"""The rows of a run, encoded once: the VAE's posterior moments and the text encoder's prompt embeddings.

Glyphs are never flipped or cropped, so the moments (from which each step draws its own latent) and the prompt
embeddings lose nothing by being kept; and the training loop loads neither VAE nor text encoder. encoders.py says by
what a record is found again, record_store.py how it lies on disk.
"""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from common.device import to_device
from common.errors import UserError
from common.quiet import known_noise_off
from dataset.captions import with_stroke_tag
from dataset.encoders import EncodingSettings, caption_key, caption_store, fill_captions, fill_images, image_store
from dataset.record_store import RecordStore
from dataset.rows import Row

with known_noise_off():
    from diffusers import StableDiffusionPipeline


Meet = Callable[[Exception | None], tuple[int, int]]  # of what keeps a process from going on: its share, of how many
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)  # what a read-only mount or another user's folder gives


class CacheError(UserError):
    """A cache that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class EncodedRows:
    """The encoded form of a dataset for a run: what `moments` and `prompt_embeds` look up in each step."""

    moment_records: torch.Tensor
    """fp32 (N, 2, C, h, w), on the device or mapped from disk."""
    moment_indices: torch.Tensor
    """int64 (rows,): a row's record, -1 where it was not encoded."""
    embeds_records: torch.Tensor
    """(M, tokens, width), on the device or mapped from disk."""
    embeds_indices: torch.Tensor
    """int64 (rows, most captions, 2): a caption's record by row, index as StepPlan has it, and tag; -1 likewise."""
    empty_caption: int
    """The index of the empty caption's record."""
    device: torch.device

    def moments(self, rows: torch.Tensor) -> torch.Tensor:
        """Posterior mean and standard deviation, fp32 (B, 2, C, h, w) on the device, of int64 rows (B,)."""
        return self._look_up(self.moment_records, self.moment_indices[rows]).float()

    def prompt_embeds(self, rows: torch.Tensor, captions: torch.Tensor, tagged: torch.Tensor,
                      dropped: torch.Tensor) -> torch.Tensor:
        """Encoded captions (B, tokens, width) on the device; the empty caption's where `dropped`."""
        indices = self.embeds_indices[rows, captions, tagged.long()]
        return self._look_up(self.embeds_records, torch.where(dropped, self.empty_caption, indices))

    def _look_up(self, records: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        if bool((indices < 0).any()):
            raise IndexError("a row or caption was drawn that was not encoded")
        if records.device.type == "cpu":  # by kind: "cuda" and "cuda:0", which a tensor there has, are not equal
            return to_device(records[indices], self.device)
        return records[to_device(indices, self.device)]


def encode_rows(pipeline: StableDiffusionPipeline, rows: Sequence[Row], required: torch.Tensor,
                settings: EncodingSettings, check_room: Callable[[int], None] = lambda missing: None,
                meet: Meet | None = None) -> EncodedRows:
    """Encode what a run needs and is not in the cache yet, and open it.

    required: bool (rows, most captions, 2), the captions, by row, caption and tag, that the run will draw
    (BatchPlan.required_captions); check_room: is told how many bytes will be added to the cache before any is, and
    may raise; meet: where the run has several processes, waits until all have called it, ends all of them where one
    gives it an error, and says which of how many processes this one is that fill the same cache. Raises OSError where
    the disk refuses.
    """
    needed = [row for row, is_needed in zip(rows, required.flatten(1).any(1).tolist(), strict=True) if is_needed]
    captions = [_caption(rows, *index) for index in required.nonzero().tolist()]
    texts = ["", *captions]
    moments, embeds = _opened(pipeline, needed, texts, settings, check_room, meet)
    if meet is not None:
        _encode_share(pipeline, moments, embeds, needed, texts, settings, meet)
    with _one_builder(settings.cache_dir):
        for store in (moments, embeds):
            store.refresh()  # another process may have just added to it
        fill_images(moments, pipeline.vae, needed, settings)
        fill_captions(embeds, pipeline, texts, settings)

    embeds_indices = torch.full(required.shape, -1)
    embeds_indices[required] = torch.tensor([embeds.index[caption_key(caption)] for caption in captions],
                                            dtype=torch.int64)
    moment_records, embeds_records = _within_budget([moments.tensor(), embeds.tensor()], settings)
    return EncodedRows(
        moment_records=moment_records,
        moment_indices=torch.tensor([moments.index.get(row.sha256, -1) for row in rows]),
        embeds_records=embeds_records,
        embeds_indices=embeds_indices,
        empty_caption=embeds.index[caption_key("")],
        device=settings.device,
    )


def _opened(pipeline: StableDiffusionPipeline, needed: Sequence[Row], texts: Sequence[str], settings: EncodingSettings,
            check_room: Callable[[int], None], meet: Meet | None) -> tuple[RecordStore, RecordStore]:
    """The stores of pictures and captions as they are, when `check_room` has agreed to what they lack.

    Nothing has been made or written then, so that nothing is left of a run that is refused.
    """
    error = None
    try:
        moments, embeds = image_store(pipeline.vae, settings), caption_store(pipeline, settings)
        check_room(len(moments.missing([row.sha256 for row in needed])) * moments.record_bytes
                   + len(embeds.missing([caption_key(text) for text in texts])) * embeds.record_bytes)
    except Exception as caught:  # whatever it is, nobody shall wait for this process
        if meet is None:
            raise
        error = caught
    if meet is not None:
        meet(error)
    return moments, embeds


def _encode_share(pipeline: StableDiffusionPipeline, moments: RecordStore, embeds: RecordStore, needed: Sequence[Row],
                  texts: Sequence[str], settings: EncodingSettings, meet: Meet) -> None:
    """Encode what falls to this process of what the cache lacks, while the others that fill it encode theirs.

    What falls to whom is said by the keys, so that it is the same whatever another run adds meanwhile. All hold the
    lock together: who then asks for it alone waits until each has done its share, or has died, and encodes what a dead
    one left.
    """
    with _several_builders(settings.cache_dir) as is_writable:
        index, count = meet(None)
        if count == 1 or not is_writable:
            return
        settings = replace(settings, progress=settings.progress and index == 0)
        fill_images(moments, pipeline.vae, [row for row in needed if _share_of(row.sha256, count) == index], settings)
        own = [text for text in texts if _share_of(caption_key(text), count) == index]
        fill_captions(embeds, pipeline, own, settings)


def _share_of(key: str, count: int) -> int:
    """In which of `count` shares of about one size a record is: its key is a SHA-256."""
    return int(key[:16], 16) % count


def _within_budget(tables: Sequence[torch.Tensor], settings: EncodingSettings) -> list[torch.Tensor]:
    """The tables, each on the device where it fits what those before it leave of the budget, else where it was."""
    placed, left = [], settings.budget_bytes if settings.device.type != "cpu" else 0.0
    for table in tables:
        fits = 0 < table.nbytes <= left
        left -= table.nbytes if fits else 0
        placed.append(table.to(settings.device) if fits else table)
    return placed


def _caption(rows: Sequence[Row], row: int, caption: int, tagged: int) -> str:
    one = rows[row]
    text = (one.captions + one.component_names + one.component_captions)[caption]
    return with_stroke_tag(text, one.strokes) if tagged else text


def _one_builder(cache_dir: Path) -> AbstractContextManager[bool]:
    """Let one process at a time add to the cache; another run waits for it and then finds the records there."""
    return _building(cache_dir, fcntl.LOCK_EX)


def _several_builders(cache_dir: Path) -> AbstractContextManager[bool]:
    """Let the processes of a run add to the cache side by side, when no other process does so alone."""
    return _building(cache_dir, fcntl.LOCK_SH)


@contextmanager
def _building(cache_dir: Path, how: int) -> Iterator[bool]:
    """Hold the cache's lock, as flock's `how` says, which goes with the process; whether the cache can be written.

    A cache that cannot be written is read without a lock. Raises CacheError where something is missing in it then.
    """
    with ExitStack() as held:
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((cache_dir / "lock").open("a+"))  # a network's disk asks for both to lock either
        except OSError as error:
            if error.errno not in NOT_WRITABLE:
                raise
            lock = None
        if lock is not None:
            fcntl.flock(lock, how)
        try:
            yield lock is not None
        except OSError as error:
            if error.errno not in NOT_WRITABLE:
                raise
            raise CacheError(f"--cache_dir {cache_dir}: cannot be written ({error.strerror}) and lacks something that "
                             "this run needs. Name another folder, or copy it to where it can be written.") from error
