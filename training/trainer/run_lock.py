"""The lock of a run folder: one owner at a time, and nothing left of one that wrote nothing."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from common.errors import UserError

LOCK = ".lock"
ATTEMPTS = 100  # to lock a folder that others remove


class BusyFolderError(UserError):
    """A folder in which another run is at work."""


class RunLock:
    """A held lock of a folder, which is made where it is missing. The lock falls with its process, however that ends.

    It is a file, since not every shared disk can lock a folder, and tells the process that holds it. Released by a run
    that has added nothing to the folder, the file goes, and so do folders that were made for it.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises BusyFolderError where another run holds it, and OSError where it cannot be made."""
        self.folder = folder
        self._made_folders: list[Path] = []  # the outermost first
        if not any(self._take() for _ in range(ATTEMPTS)):
            raise BusyFolderError(f"--output_dir {folder}: cannot be locked, since {LOCK} is removed again and again; "
                                  "name another folder")
        self._made_file = not self._file.read()
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()
        self._found = set(folder.iterdir())

    def release(self) -> None:
        """Give the lock back. What it made is removed first, while nobody else can hold it."""
        with suppress(OSError):
            if self._made_file and set(self.folder.iterdir()) == self._found:
                (self.folder / LOCK).unlink()
                for folder in reversed(self._made_folders):
                    folder.rmdir()  # refused where it holds anything
        self._file.close()

    def _take(self) -> bool:
        """Whether the lock is held now; not where another run has just removed what was to be locked."""
        try:
            self._make_folders()
            file = (self.folder / LOCK).open("a+")
        except FileNotFoundError:
            return False
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), (self.folder / LOCK).stat()):
                self._file = file
                return True
        except BlockingIOError:
            raise BusyFolderError(f"--output_dir {self.folder}: another run is at work there (process "
                                  f"{file.read().strip()}); wait for it, stop it, or name another folder") from None
        except FileNotFoundError:
            pass
        file.close()
        return False

    def _make_folders(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        for path in reversed(missing):
            with suppress(FileExistsError):  # another run was faster
                path.mkdir()
                self._made_folders.append(path)
