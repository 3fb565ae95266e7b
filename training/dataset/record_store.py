"""Fixed-size tensors on disk, appended to and never rewritten, found again by key and verified by checksum."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from common.files import replacing


class RecordStore:
    """A folder of records: `records.bin` holds them one after another, `index.txt` has a line for each.

    A line says the record's number, its key and its CRC-32, and ends with the CRC-32 of itself: so a line that is lost
    or doubled moves no other, and a damaged one is none. It is written after its record's bytes are on disk: what a
    crash leaves half-written has no line. Of two lines with one key the later holds. Several processes may append: one
    at a time, after it has read what the others did.
    """

    def __init__(self, folder: Path, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Open the store of `folder`, or an empty one; `shape` and `dtype` are those of one record. Writes nothing."""
        self.folder, self.shape, self.dtype = folder, tuple(shape), dtype
        self.record_bytes = torch.Size(shape).numel() * dtype.itemsize
        self._records, self._lines = folder / "records.bin", folder / "index.txt"
        self.index: dict[str, int] = {}
        self._checksums: dict[int, int] = {}
        self._damaged: set[int] = set()
        self._count, self.damaged_lines = 0, 0
        self._whole_lines, self._inode = 0, None
        self.refresh()

    def refresh(self) -> None:
        """Read what is in the store and has not been read yet: what another process appended is at the end."""
        content = b""
        if self._lines.exists():
            with self._lines.open("rb") as file:
                if (inode := os.fstat(file.fileno()).st_ino) != self._inode:  # written anew, without damaged lines
                    self._inode, self._whole_lines, self.damaged_lines = inode, 0, 0
                file.seek(self._whole_lines)
                content = file.read()
        # After the lines, whose records are on disk before them.
        self._count = self._records.stat().st_size // self.record_bytes if self._records.exists() else 0
        self._take_in(content)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that the store does not hold, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self.index]

    def forget_damaged(self, keys: Sequence[str]) -> list[str]:
        """Hold the records of `keys` against their checksums; those that differ, or cannot be read, are missing then.

        Returns their keys. Reads 1.7 GB a second, from a disk that does.
        """
        numbers = sorted({self.index[key]: key for key in keys if key in self.index}.items())
        if not numbers:
            return []
        with self._records.open("rb", buffering=0) as file:
            damaged = [key for number, key in numbers if self._read_checksum(file.fileno(), number)
                       != self._checksums[number]]
        for key in damaged:
            self._damaged.add(self.index.pop(key))
        return damaged

    def append(self, keys: Sequence[str], records: torch.Tensor) -> None:
        """Add records (N, *shape) under new keys, durably, but for those that another process has added meanwhile.

        Raises OSError where the disk refuses; nothing is lost.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self.refresh()
            new = [position for position, key in enumerate(keys) if key not in self.index]
            if new:
                self._append([keys[position] for position in new], records[new] if len(new) < len(keys) else records)

    def tensor(self) -> torch.Tensor:
        """All records, (N, *shape), mapped from the file: one is read from disk when it is used."""
        if not self._count:
            return torch.empty((0, *self.shape), dtype=self.dtype)
        size = torch.Size((self._count, *self.shape)).numel()
        records = torch.from_file(str(self._records), shared=False, size=size, dtype=self.dtype)
        return records.view(self._count, *self.shape)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock for adding to the store; it goes with the process, however that ends."""
        self._records.touch()
        with self._records.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _append(self, keys: Sequence[str], records: torch.Tensor) -> None:
        data = records.detach().cpu().to(self.dtype).contiguous().reshape(-1).view(torch.uint8).numpy()
        checksums = [zlib.crc32(one) for one in data.reshape(len(keys), self.record_bytes)]
        numbers = range(self._count, self._count + len(keys))
        lines = "".join(_line(*one) for one in zip(numbers, keys, checksums, strict=True)).encode()
        if self.damaged_lines:
            self._drop_damaged_lines()
        _append(self._records, self._count * self.record_bytes, data)
        _append(self._lines, self._whole_lines, lines)
        self._count += len(keys)
        self._whole_lines += len(lines)
        self.index |= zip(keys, numbers, strict=True)
        self._checksums |= zip(numbers, checksums, strict=True)

    def _take_in(self, content: bytes) -> None:
        *lines, torn = content.split(b"\n")
        self._whole_lines += len(content) - len(torn)
        for line in lines:
            number, key, checksum = _parts(line)
            if number is None:
                self.damaged_lines += 1
            elif number < self._count and number not in self._damaged:
                self.index[key] = number
                self._checksums[number] = checksum

    def _drop_damaged_lines(self) -> None:
        lines = b"".join(line + b"\n" for line in self._lines.read_bytes().split(b"\n")[:-1] if _parts(line)[1])
        with replacing(self._lines, durably=True) as temporary:
            temporary.write_bytes(lines)
        self._whole_lines, self.damaged_lines, self._inode = len(lines), 0, self._lines.stat().st_ino

    def _read_checksum(self, descriptor: int, number: int) -> int | None:
        """The checksum of a record as it is on disk now; None where it cannot be read."""
        try:
            return zlib.crc32(os.pread(descriptor, self.record_bytes, number * self.record_bytes))
        except OSError:
            return None


def _line(number: int, key: str, checksum: int) -> str:
    content = f"{number} {key} {checksum:08x}"
    return f"{content} {zlib.crc32(content.encode()):08x}\n"


def _parts(line: bytes) -> tuple[int, str, int] | tuple[None, None, None]:
    """Number, key and checksum of a line; None of each where the line is damaged."""
    content, _, own_checksum = line.rpartition(b" ")
    if own_checksum != f"{zlib.crc32(content):08x}".encode():
        return None, None, None
    number, key, checksum = content.decode().split(" ")
    return int(number), key, int(checksum, 16)


def _append(path: Path, whole: int, data: bytes | np.ndarray) -> None:
    """Write `data` after the file's first `whole` bytes, in place of what follows there, and wait for the disk."""
    path.touch()
    with path.open("r+b", buffering=0) as file:
        file.truncate(whole)
        file.seek(whole)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest):]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(whole)  # a full disk is not filled further by each try
            raise
