"""Files and folders that are whole or as they were before, and their digests.

What is written gets the mode that the umask gives to any other file: safetensors and diffusers make theirs readable by
their owner alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from safetensors import SafetensorError


@contextmanager
def replacing(path: Path, durably: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place where the block ends; a block that fails leaves `path` alone.

    `durably`: both the file and its new name are on disk when this returns. Raises OSError where the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with _disk_errors(path):
            yield temporary
        give_usual_mode(temporary)
        if durably:
            sync(temporary)
        temporary.replace(path)
        if durably:
            sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Call a disk's refusal what it is: safetensors has an error of its own for it, which is no OSError."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({error})") from error


def write_text(path: Path, text: str, durably: bool = False) -> None:
    """Write a text file (UTF-8), whole or not at all. Raises OSError."""
    with replacing(path, durably) as temporary:
        temporary.write_text(text, encoding="utf8")


def save_image(image: Image.Image, path: Path) -> None:
    """Save a PNG, whole or not at all. Raises OSError."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which gets its name, in place of an older one, where the block ends.

    A block that fails leaves nothing of it, and the older one as it was. Raises OSError.
    """
    building = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        with _disk_errors(folder):
            yield building
        for path in building.rglob("*"):
            give_usual_mode(path)
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def give_usual_mode(path: Path) -> None:
    """Give a file the mode that open() would have given it: read and write for all, less the umask."""
    if path.is_file() and not path.is_symlink():
        path.chmod(0o666 & ~_umask())


def sync(path: Path) -> None:
    """Return when the file or the folder's listing is on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    """This process's umask, which can only be read by setting it: to the strictest, since other threads make files."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
