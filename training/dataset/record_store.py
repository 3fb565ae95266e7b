"""Fixed-size tensors on disk, appended to and never rewritten, found again by key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch


class RecordStore:
    """A folder of records: `records.bin` holds them one after another, `keys.txt` names them, a line each.

    A key is written after its record's bytes are on disk. What a crash leaves half-written is beyond the last whole key
    and is overwritten by the next append.
    """

    def __init__(self, folder: Path, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Open or make the store of `folder`; `shape` and `dtype` are those of one record."""
        self.folder, self.shape, self.dtype = folder, tuple(shape), dtype
        self.record_bytes = torch.Size(shape).numel() * dtype.itemsize
        folder.mkdir(parents=True, exist_ok=True)
        self._records, self._keys = folder / "records.bin", folder / "keys.txt"
        for path in (self._records, self._keys):
            path.touch()
        self.index = {key: number for number, key in enumerate(self._whole_keys())}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that the store does not hold, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self.index]

    def append(self, keys: Sequence[str], records: torch.Tensor) -> None:
        """Add records (N, *shape) under new keys, durably. Raises OSError where the disk refuses; nothing is lost."""
        data = records.detach().cpu().to(self.dtype).contiguous().reshape(-1).view(torch.uint8).numpy()
        _append(self._records, len(self.index) * self.record_bytes, data)
        _append(self._keys, sum(len(key) + 1 for key in self.index), "".join(f"{key}\n" for key in keys).encode())
        for key in keys:
            self.index[key] = len(self.index)

    def tensor(self) -> torch.Tensor:
        """All records, (N, *shape), mapped from the file: one is read from disk when it is used."""
        count = len(self.index)
        if not count:
            return torch.empty((0, *self.shape), dtype=self.dtype)
        size = torch.Size((count, *self.shape)).numel()
        return torch.from_file(str(self._records), shared=False, size=size, dtype=self.dtype).view(count, *self.shape)

    def _whole_keys(self) -> list[str]:
        """The keys whose line and whose record are both whole."""
        lines = self._keys.read_bytes().split(b"\n")[:-1]
        return [line.decode() for line in lines[:self._records.stat().st_size // self.record_bytes]]


def _append(path: Path, whole: int, data: bytes | np.ndarray) -> None:
    """Write `data` after the file's first `whole` bytes, in place of what follows there, and wait for the disk."""
    with path.open("r+b") as file:
        file.truncate(whole)
        file.seek(0, os.SEEK_END)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
