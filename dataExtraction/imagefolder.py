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
from errors import UserError

if TYPE_CHECKING:
    from rows import Row

FORMAT = 1  # raise it whenever the same sources and options would give other files
SPLITS = ("train", "test")
KINDS = ("real", "composed")
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
    ours = isinstance(manifest, dict) and {"format", "options", "sources", "counts"} <= manifest.keys()
    return manifest if ours and isinstance(manifest["options"], dict) and isinstance(manifest["counts"], dict) else None


def is_current(output: Path, expected: dict[str, Any], force: bool = False) -> bool:
    """Whether the output folder holds, whole, the dataset of the `expected` fingerprint; if not, it is to be built.

    What a killed run left beside it is cleared away first. With `force` it is built anew even so, and a dataset of
    ours that is another is replaced. Raises UserError where it holds something that is not ours, or a dataset that
    only --force replaces.
    """
    with explained(output):
        files.clear_leftovers(output)
        if not output.exists():
            return False
        if not output.is_dir():
            raise UserError(f"--output {output}: not a folder. Choose another")
        names = {path.name for path in output.iterdir()}
        if not names:
            return False
        manifest = _own_manifest(output, names)
        same = {key: manifest.get(key) for key in expected} == expected
        whole = _is_whole(output, manifest)
    if same and whole and not force:
        return True
    if not force:
        difference = "with files missing" if same else _difference(manifest, expected)
        raise UserError(
            f"--output {output}: holds a dataset {difference}. Add --force to replace it, or choose another --output"
        )
    return False


def _own_manifest(output: Path, names: set[str]) -> dict[str, Any]:
    """The manifest of a folder that holds `names`. Raises UserError where it holds anything that is not ours."""
    manifest = read_manifest(output)
    if manifest is None or (foreign := _foreign(output, names)):
        what = ", ".join(foreign[:3]) if manifest else "no manifest.json of ours"
        raise UserError(
            f"--output {output}: holds something else than a dataset of ours ({what}). It is left as it is. "
            "Choose another --output, or move that away"
        )
    return manifest


def _foreign(folder: Path, names: set[str]) -> list[str]:
    """What is in a dataset folder that we did not put there."""
    found = sorted(names - _TOP_LEVEL)
    for split in SPLITS:
        if (folder / split).is_dir():
            inside = (path.name for path in (folder / split).iterdir())
            found += [f"{split}/{name}" for name in inside if not name.endswith(".png") and name != "metadata.jsonl"]
    return found


def _is_whole(folder: Path, manifest: dict[str, Any]) -> bool:
    has_test = "test" in manifest["counts"]  # a folder of plans has not
    for split in SPLITS if has_test else SPLITS[:1]:
        try:
            pictures = sum(path.suffix == ".png" for path in (folder / split).iterdir())
        except OSError:
            return False
        if pictures != manifest["counts"].get(split) or not (folder / split / "metadata.jsonl").is_file():
            return False
    others = ["README.md", HELD_OUT_PAIRS] if has_test else ["README.md"]
    return all((folder / name).is_file() for name in others)


def _difference(manifest: dict[str, Any], expected: dict[str, Any]) -> str:
    old, new = manifest["options"], expected["options"]
    changes = [f"{key} {old.get(key)}, now {new.get(key)}" for key in old | new if old.get(key) != new.get(key)]
    if manifest["sources"] != expected["sources"]:
        changes.append("other sources")
    return "made with other settings (" + ("; ".join(changes) or "an earlier version of this program") + ")"


@contextlib.contextmanager
def build(output: Path) -> Iterator[Path]:
    """A new folder to fill; at the end it takes the place of `output`, and if anything fails, it goes.

    Raises UserError where there is no right to write, no room, or another run is building the same folder.
    """
    with explained(output):
        try:
            with files.appearing(output) as building:
                yield building
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
