"""Records and PNGs -> a dataset folder in Hugging Face's imagefolder form, whole or not at all.

The folder is built beside its final place and renamed when all is on disk. A run that was killed leaves only the
half-built folder, which the next run removes.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from errors import UserError
from records import Record

FORMAT = 1  # raise it whenever the same sources and options would give other files
SPLITS = ("train", "test")
HELD_OUT_PAIRS = "heldout_pairs.jsonl"
_TOP_LEVEL = {"README.md", "manifest.json", HELD_OUT_PAIRS, *SPLITS}


def fingerprint(options: dict[str, Any], sources: list[dict[str, str]]) -> dict[str, Any]:
    """All that decides the folder's bytes: two runs with equal fingerprints make equal folders."""
    return {"format": FORMAT, "options": options, "sources": sources}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a dataset folder that we made, or None."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "format" in manifest and "counts" in manifest else None


def is_current(output: Path, wanted: dict[str, Any], force: bool = False) -> bool:
    """Decide what to do about the output folder.

    Returns:
        True if it already holds exactly what is wanted, whole; False if it is to be built.

    Raises:
        UserError: it holds something that is not ours, or a dataset that only --force replaces.
    """
    if not output.exists() and not output.is_symlink():
        return False
    if not output.is_dir():
        raise UserError(f"--output {output}: not a folder. Choose another")
    names = {entry.name for entry in os.scandir(output)}
    if not names:
        return False
    manifest = read_manifest(output)
    if manifest is None or names - _TOP_LEVEL:
        foreign = sorted(names - _TOP_LEVEL) or ["no readable manifest.json"]
        raise UserError(
            f"--output {output}: holds something else than a dataset of ours ({', '.join(foreign[:3])}). "
            "It is left as it is. Choose another --output, or move that away"
        )
    same = {key: manifest.get(key) for key in wanted} == wanted
    if same and not force and _is_whole(output, manifest):
        return True
    if not force:
        raise UserError(
            f"--output {output}: holds a dataset {_difference(manifest, wanted) if same is False else 'with files missing'}. "
            "Add --force to replace it, or choose another --output"
        )
    return False


def _is_whole(folder: Path, manifest: dict[str, Any]) -> bool:
    for split in SPLITS:
        try:
            pictures = sum(entry.name.endswith(".png") for entry in os.scandir(folder / split))
        except OSError:
            return False
        if pictures != manifest["counts"][split] or not (folder / split / "metadata.jsonl").is_file():
            return False
    return (folder / "README.md").is_file() and (folder / HELD_OUT_PAIRS).is_file()


def _difference(manifest: dict[str, Any], wanted: dict[str, Any]) -> str:
    old, new = manifest.get("options") or {}, wanted["options"]
    changes = [f"{key} {old.get(key)}, now {new[key]}" for key in new if old.get(key) != new[key]]
    if manifest.get("sources") != wanted["sources"]:
        changes.append("other sources")
    return "made with other settings (" + ("; ".join(changes) or "an earlier version of this program") + ")"


@contextlib.contextmanager
def build(output: Path) -> Iterator[Path]:
    """A new folder to fill; at the end it takes the place of `output`, and if anything fails, it goes.

    Raises:
        UserError: no right to write there, no room, or another run is building the same folder.
    """
    output = output.absolute()
    building = output.with_name(f".{output.name}.building")
    replaced = output.with_name(f".{output.name}.replaced")
    with _explained(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir(exist_ok=True)
        lock = os.open(building, os.O_RDONLY)
        try:
            _lock(lock, output)
            _recover(output, replaced)
            for name in os.listdir(building):
                _remove(building / name)
            try:
                yield building
                _to_disk(building)
                if output.exists():
                    output.rename(replaced)
                building.rename(output)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                _recover(output, replaced)
                raise
            _sync_folder(output.parent)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            os.close(lock)


def clean_leftovers(output: Path) -> None:
    """Remove what a killed run left beside `output`, unless another run is at it."""
    output = output.absolute()
    building = output.with_name(f".{output.name}.building")
    _recover(output, output.with_name(f".{output.name}.replaced"))
    if building.is_dir():
        lock = os.open(building, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(building, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _lock(descriptor: int, output: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"--output {output}: another run is building it. Wait for that, or choose another") from None


def _recover(output: Path, replaced: Path) -> None:
    """After a run that ended between its two renames: put the former dataset back, or remove it if it was replaced."""
    if replaced.is_dir():
        if output.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.rename(output)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextlib.contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Turn what the file system refuses into one clear message."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"--output {output}: the disk is full. Nothing half-written was left. Make room, or choose another"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EFBIG):
            raise UserError(f"--output {output}: cannot be written ({error.strerror}). Choose another") from None
        raise


def _to_disk(folder: Path) -> None:
    """All of a folder on disk. One sync for the many small pictures, then each table and folder by itself."""
    os.sync()
    for path in [*folder.rglob("*.json*"), folder / "README.md"]:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    for path in [*(folder / split for split in SPLITS), folder]:
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_pictures(
    folder: Path, records: Iterable[Record], pictures: Iterable[bytes | str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write the pictures and the tables of both splits.

    Args:
        folder: empty.
        records: the rows.
        pictures: for each record its PNG's bytes, or the reason why it has none; such a row is left out.

    Returns:
        The counts (train, test, and of each kind) and the SHA-256 over all pictures in order, for the manifest; and
        the reason for each row left out, by the character or file name.
    """
    digest, counts, refused = hashlib.sha256(), Counter(train=0, test=0, real=0, composed=0), {}
    with contextlib.ExitStack() as stack:
        tables = {}
        for split in SPLITS:
            (folder / split).mkdir()
            tables[split] = stack.enter_context((folder / split / "metadata.jsonl").open("w", encoding="utf-8"))
        for record, picture in zip(records, pictures, strict=True):
            row = record.row
            if isinstance(picture, str):
                refused[row["literal"] or row["file_name"]] = picture
                continue
            (folder / record.split / row["file_name"]).write_bytes(picture)
            tables[record.split].write(json_line(row))
            digest.update(row["file_name"].encode() + picture)
            counts.update((record.split, row["kind"]))
    return {"counts": dict(counts), "pictures_sha256": digest.hexdigest()}, refused


def json_line(row: dict[str, Any]) -> str:
    """A row as one line of JSON, kanji readable."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_held_out_pairs(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write heldout_pairs.jsonl."""
    (folder / HELD_OUT_PAIRS).write_text("".join(map(json_line, rows)), encoding="utf-8")


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json, readable by people too."""
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
