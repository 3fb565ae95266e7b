"""Files and folders that are whole or as they were before, whatever ends the run that writes them.

What is written gets the mode that the umask gives to any other file and folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class BusyError(Exception):
    """Another process is writing the same folder."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, on disk, where the block ends.

    A block that fails leaves `path` alone. Missing folders are made, a link stays a link, and what is no file, such as
    a device, is given as it is. Raises OSError where the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def appearing(folder: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A new folder to fill, which gets its name, in place of an older one, where the block ends and all is on disk.

    `check` is called when no other process can build the folder, and again right before an older one is replaced; what
    it raises leaves all as it is. That an older one can be replaced is tried before the block begins. A block that
    fails leaves nothing of it, and the older one as it was. A process that is killed leaves the half-built folder,
    `.NAME.building`, which clear_leftovers or the next call removes. Raises BusyError where another process is building
    the same folder, OSError where the disk refuses.
    """
    target = folder.resolve()
    building, replaced = _beside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    building.mkdir(exist_ok=True)
    with _locked(building) as ours:
        if not ours:
            raise BusyError(f"another process is building {folder}")
        try:
            _put_back(target, replaced)
            check()
            _try_to_replace(target, replaced)
            for left in building.iterdir():
                _remove(left)
            yield building
            _to_disk(building)
            if target.exists():
                check()
                target.rename(replaced)
            building.rename(target)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            _put_back(target, replaced)
            raise
        sync(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Undo what a killed process left beside a folder, unless another process is at it. Raises OSError."""
    target = folder.resolve()
    building, replaced = _beside(target)
    if building.is_dir():
        with _locked(building) as ours:
            if ours:
                shutil.rmtree(building)
                _put_back(target, replaced)
    else:
        _put_back(target, replaced)


def sync(path: Path) -> None:
    """Return when the file or the folder's listing is on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(target: Path) -> tuple[Path, Path]:
    """The folder that is being built, and the former one for the moment between two renames."""
    return target.with_name(f".{target.name}.building"), target.with_name(f".{target.name}.replaced")


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder; False if another process has it. The lock goes with the process, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(descriptor, folder)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The process that finished it may have renamed the folder away before we had the lock.
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _put_back(target: Path, replaced: Path) -> None:
    """After an end between the two renames: put the former folder back; after both, remove it."""
    if replaced.is_dir():
        if target.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(target)


def _try_to_replace(target: Path, replaced: Path) -> None:
    """Rename a folder and back: a mount point refuses that, and better now than when all is done. Raises OSError."""
    if target.exists():
        target.rename(replaced)
        replaced.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _to_disk(folder: Path) -> None:
    """All of a folder on disk. One sync for the many small pictures, then each other file and folder by itself."""
    os.sync()
    for parent, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(".png"):
                sync(Path(parent) / name)
        sync(Path(parent))
