"""Captions in files beside the pictures, moon.txt or moon.caption beside moon.png, as other trainers' users have them.

Each line of such a file is a caption, enough by itself. The picture may lie in a folder within the folder, its captions
beside it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from dataset.folder_files import IMAGE_SUFFIXES, check_picture, names_with, read_within, shown, without_byte_order_mark
from dataset.metadata import metadata_file
from dataset.rows import DatasetError, Row

METADATA = "metadata"
SUFFIXES = {"txt": ".txt", "caption": ".caption"}  # by what --captions_from calls them


def captions_kind(root: Path, asked_for: str | None) -> str:
    """Where a folder's captions stand: METADATA, also where it has none at all, or one of SUFFIXES.

    Raises DatasetError where it has captions of several kinds and nobody says which are meant, or not those
    `asked_for`. A .txt file is a caption where a picture of its name lies beside it: a note is none.
    """
    found = _kinds(root)
    if asked_for is not None and asked_for not in found:
        raise DatasetError(f"--captions_from {asked_for}: {root} has no {_in_words(asked_for)}; "
                           f"it has {' and '.join(map(_in_words, found)) or 'no captions'}")
    if asked_for is None and len(found) > 1:
        raise DatasetError(f"{root}: has captions of several kinds, {' and '.join(map(_in_words, found))}. Which are "
                           f"meant? Take the others out of the folder or, for --train_data_dir, add "
                           f"{' or '.join(f'--captions_from {kind}' for kind in found)} to the trainer's flags.")
    return asked_for or next(iter(found), METADATA)


def read_caption_files(root: Path, kind: str, progress: bool = True) -> tuple[list[Row], list[str]]:
    """The rows of a folder with such files, in the order of the pictures' names, and all that is wrong with it."""
    pictures, files = names_with(root, IMAGE_SUFFIXES), names_with(root, {SUFFIXES[kind]})
    captions, problems = {}, []
    for name in files:
        found, problem = _captions(root, name)
        problem = "a second file of this name and kind" if _stem(name) in captions else problem
        captions.setdefault(_stem(name), found)
        problems += [f"{shown(name)}: {problem}"] if problem else []
    rows = []
    for picture in tqdm(pictures, desc="checking pictures", unit="picture", disable=not progress, leave=False):
        digest, problem = check_picture(root, picture)
        problems += [f"{shown(picture)}: {problem}"] if problem else []
        if _stem(picture) not in captions:
            problems.append(f"{shown(picture)}: a picture without a caption; its file would be "
                            f"{shown(_stem(picture) + SUFFIXES[kind])}")
        rows.append(Row(root / picture, digest, captions.get(_stem(picture), ()), {}))
    stems = set(map(_stem, pictures))
    problems += [f"{shown(name)}: a caption without a picture" for name in files if _stem(name) not in stems]
    return rows, problems


def _kinds(root: Path) -> list[str]:
    """Where captions stand in a folder, each kind once."""
    names = names_with(root, IMAGE_SUFFIXES | set(SUFFIXES.values()))
    pictures = {_stem(name) for name in names if _suffix(name) in IMAGE_SUFFIXES}
    beside = {_suffix(name) for name in names if _suffix(name) not in IMAGE_SUFFIXES and _stem(name) in pictures}
    return [*([METADATA] if metadata_file(root) is not None else []),
            *(kind for kind, suffix in SUFFIXES.items() if suffix in beside)]


def _in_words(kind: str) -> str:
    return "metadata.jsonl (or .csv, .parquet)" if kind == METADATA else f"{SUFFIXES[kind]} files beside pictures"


def _captions(root: Path, name: str) -> tuple[Sequence[str], str | None]:
    """The captions of a file, a line each, and what is wrong with it, if anything."""
    content, problem = read_within(root, name)
    if problem:
        return (), problem
    try:
        text = without_byte_order_mark(content).decode("utf8")
    except UnicodeDecodeError:
        return (), "is not UTF-8"
    except ValueError as error:
        return (), str(error)
    if "\0" in text:
        return (), "is not text: it has zero bytes"
    captions = tuple(line.strip() for line in text.splitlines() if line.strip())
    return captions, None if captions else "has no caption in it"


def _stem(name: str) -> str:
    """What a picture and its caption have in common: folder/moon of folder/moon.png."""
    return PurePosixPath(name).with_suffix("").as_posix()


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
