"""Rows and PNGs -> a dataset folder in Hugging Face's imagefolder form, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import files
from checksums import differences, in_words, write_checksums
from errors import UserError

if TYPE_CHECKING:
    from rows import Row

FORMAT = 1  # raise it whenever the same sources and options would give other files
SPLITS = ("train", "test")
KINDS = ("real", "composed")
HELD_OUT_PAIRS = "heldout_pairs.jsonl"


def fingerprint(options: dict[str, Any], sources: list[dict[str, str]]) -> dict[str, Any]:
    """All that decides the folder's bytes: two runs with equal fingerprints make equal folders."""
    return {"format": FORMAT, "options": options, "sources": sources}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a dataset folder that we made, or None."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(manifest, dict) and {"format", "options", "sources", "counts"} <= manifest.keys()
    return manifest if ours and isinstance(manifest["options"], dict) and isinstance(manifest["counts"], dict) else None


class AlreadyMadeError(Exception):
    """Another run has made the same dataset while this one prepared its own."""


def is_current(output: Path, expected: dict[str, Any], force: bool = False, verify: bool = False) -> bool:
    """Whether the output folder holds, whole, the dataset of the `expected` fingerprint; if not, it is to be built.

    What a killed run left beside it is cleared away first. Whole is what has all its files in their sizes, and with
    `verify` in their SHA-256; what lacks some or has damaged ones is to be built anew, which is said. With `force` it
    is built anew even so, and a dataset of ours that is another is replaced. Raises UserError where it holds something
    that is not ours, or was changed since it was made and would be replaced, or a dataset that only --force replaces.
    """
    with explained(output):
        files.clear_leftovers(output)
        current, said = _compare(output, expected, force, verify)
        if said:
            print(f"{output}: {said}")
        return current


def _compare(output: Path, expected: dict[str, Any], force: bool, verify: bool) -> tuple[bool, str]:
    """Whether the output is what is expected, and what is to be said of it; errors as is_current raises them."""
    if not output.exists():
        return False, ""
    if not output.is_dir():
        raise UserError(f"--output {output}: not a folder. Choose another")
    if not any(output.iterdir()):
        return False, ""
    if (manifest := read_manifest(output)) is None:
        raise _not_ours(output, "no manifest.json of ours")
    found = differences(output, _legacy_files(output, manifest), thorough=force or verify)
    if found.foreign:
        raise _not_ours(output, in_words(found.foreign))
    same = {key: manifest.get(key) for key in expected} == expected
    if not (same or force):
        raise UserError(f"--output {output}: holds a dataset {_difference(manifest, expected)}. "
                        "Add --force to replace it, or choose another --output")
    whole = same and not force and not found.damaged
    if found.changed and (verify or not whole):
        raise UserError(f"--output {output}: someone has changed {in_words(found.changed)} since it was made. It is "
                        "left as it is. Choose another --output, or move that away, and the same command makes it anew")
    if whole:
        return True, f"{in_words(found.changed)} changed since it was made, and left so" if found.changed else ""
    return False, f"{in_words(found.damaged)} missing or damaged; all is made anew" if found.damaged else ""


def _not_ours(output: Path, what: str) -> UserError:
    return UserError(f"--output {output}: holds something else than a dataset of ours ({what}). It is left as it is. "
                     "Choose another --output, or move that away")


def _legacy_files(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """The files of a folder that was made before there were checksums, by its tables; read only where it is one."""
    yield from ("manifest.json", "README.md")
    has_test = "test" in manifest["counts"]  # a folder of plans has not
    if has_test:
        yield HELD_OUT_PAIRS
    for split in SPLITS if has_test else SPLITS[:1]:
        yield f"{split}/metadata.jsonl"
        try:
            lines = (folder / split / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
            yield from [f"{split}/{json.loads(line)['file_name']}" for line in lines]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # its pictures are anyone's then, and so are kept


def _difference(manifest: dict[str, Any], expected: dict[str, Any]) -> str:
    old, new = manifest["options"], expected["options"]
    changes = [f"{key} {old.get(key)}, now {new.get(key)}" for key in old | new if old.get(key) != new.get(key)]
    if manifest["sources"] != expected["sources"]:
        changes.append("other sources")
    return "made with other settings (" + ("; ".join(changes) or "an earlier version of this program") + ")"


@contextlib.contextmanager
def build(output: Path, expected: dict[str, Any], force: bool = False, verify: bool = False) -> Iterator[Path]:
    """A new folder to fill; at the end it takes the place of `output`, and if anything fails, it goes.

    What `output` holds is compared once more when no other run can build it, and right before it is replaced. Raises
    AlreadyMadeError where another run has made the same dataset meanwhile; UserError as is_current does, and where
    there is no right to write, no room, or another run is building the same folder.
    """

    def check() -> None:
        current, _ = _compare(output, expected, force, verify)
        if current:
            raise AlreadyMadeError

    with explained(output):
        try:
            with files.appearing(output, check) as building:
                yield building
                write_checksums(building)
        except files.BusyError:
            message = f"--output {output}: another run is building it. Wait for that, or choose another"
            raise UserError(message) from None


@contextlib.contextmanager
def explained(output: Path) -> Iterator[None]:
    """Turn what the file system refuses into one UserError about --output."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"--output {output}: the disk is full. Nothing half-written was left. Make room, or choose another"
            ) from None
        if error.errno == errno.EBUSY:
            raise UserError(
                f"--output {output}: is a mount point, whose place a new folder cannot take. Name a folder within it: "
                f"--output {output / 'kanji'}"
            ) from None
        reason = error.strerror or str(error)
        raise UserError(f"--output {output}: cannot be used ({reason}). Choose another") from None


def write_pictures(
    folder: Path,
    rows: Iterable[Row],
    pictures: Iterable[bytes | str],
    splits: Sequence[str] = SPLITS,
    kinds: Sequence[str] = KINDS,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write the pictures and the tables of the splits into an empty folder.

    `pictures` has for each row its PNG's bytes, or the reason why it has none; such a row is left out. Returns, for
    the manifest, the counts (of each split and kind) and the SHA-256 over all pictures in order; and the reason for
    each row left out, by the character, word or file name. Raises OSError.
    """
    digest, counts, refused = hashlib.sha256(), Counter(dict.fromkeys((*splits, *kinds), 0)), {}
    with contextlib.ExitStack() as stack:
        tables = {}
        for split in splits:
            (folder / split).mkdir()
            tables[split] = stack.enter_context((folder / split / "metadata.jsonl").open("w", encoding="utf-8"))
        for row, picture in zip(rows, pictures, strict=True):
            name, literal, kind = (row.metadata[column] for column in ("file_name", "literal", "kind"))
            if isinstance(picture, str):
                refused[literal or row.metadata.get("word") or name] = picture
                continue
            (folder / row.split / name).write_bytes(picture)
            tables[row.split].write(json_line(row.metadata))
            digest.update(name.encode() + picture)
            counts.update((row.split, kind))
    return {"counts": dict(counts), "pictures_sha256": digest.hexdigest()}, refused


def json_line(columns: dict[str, Any]) -> str:
    """A row as one line of JSON, kanji readable."""
    return json.dumps(columns, ensure_ascii=False) + "\n"


def write_held_out_pairs(folder: Path, pairs: Iterable[dict[str, Any]]) -> None:
    """Write heldout_pairs.jsonl. Raises OSError."""
    (folder / HELD_OUT_PAIRS).write_text("".join(map(json_line, pairs)), encoding="utf-8")


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json, readable by people too. Raises OSError."""
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
