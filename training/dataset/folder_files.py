"""The files of a captioned folder: which are pictures, what their bytes are, and what is wrong with one."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Set
from pathlib import Path

from dataset.images import decoded, file_bytes

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def picture_names(root: Path) -> list[str]:
    """The pictures of a folder and of those in it, by path from `root`, sorted."""
    return names_with(root, IMAGE_SUFFIXES)


def names_with(root: Path, suffixes: Set[str]) -> list[str]:
    """What in a folder and in those in it ends in one of these, whatever its case, by path from `root`, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix.lower() in suffixes)


def file_of(root: Path, name: str) -> str:
    """The same for each way to name a file: moon.png is ./moon.png."""
    return os.path.normpath(root / name)


def read_within(root: Path, name: str) -> tuple[bytes, str | None]:
    """The bytes of a file of a dataset folder, and why it cannot be used, if so: a link may lead out of the folder."""
    path = root / name
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            return b"", "points outside the dataset folder"
        return file_bytes(path), None
    except OSError as error:
        return b"", f"cannot be read ({error.strerror})"
    except (ValueError, RuntimeError) as error:  # a name that no file can have, links in a circle
        return b"", f"cannot be read ({error})"


def check_picture(root: Path, name: str) -> tuple[str, str | None]:
    """The SHA-256 of a picture's bytes and what is wrong with it, if anything; every pixel is decoded."""
    data, problem = read_within(root, name)
    if problem:
        return "", problem
    try:
        decoded(data)
    except Exception as error:  # Pillow raises anything from OSError to SyntaxError on a broken file
        return "", f"is no whole picture ({error})"
    return hashlib.sha256(data).hexdigest(), None


def without_byte_order_mark(content: bytes) -> bytes:
    """A text file's bytes without UTF-8's byte-order mark. Raises ValueError where one says UTF-16."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("is UTF-16. Save it as UTF-8.")
    return content.removeprefix(codecs.BOM_UTF8)


def shown(name: str) -> str:
    """A file's name as it is printed."""
    return name if name.isprintable() else repr(name)
