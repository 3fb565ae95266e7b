"""All real kanji of the dataset as a recogniser sees them: what is searched for the nearest existing character.

The embeddings are computed once for a dataset and a recogniser and kept beside the dataset folder; they are not
shipped. Train and held-out characters are both among them: a copy of either is a copy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from common.errors import first_line
from common.files import replacing
from dataset.images import decoded, file_bytes
from dataset.metadata import read_json_lines
from dataset.rows import DatasetError
from recogniser.network import Recogniser, to_ink

BATCH = 128


@dataclass(frozen=True)
class ReferenceKanji:
    """Embeddings (N, width), unit length, of existing characters, with each one's literal and picture."""

    embeddings: torch.Tensor
    literals: tuple[str, ...]
    pictures: tuple[Path, ...]

    def nearest(self, embeddings: torch.Tensor) -> list[tuple[int, float]]:
        """For each of (M, width) unit embeddings the index of the nearest kanji and the cosine similarity to it."""
        similarities, indices = (embeddings @ self.embeddings.T).max(-1)
        return list(zip(indices.tolist(), similarities.tolist(), strict=True))


def load_references(network: Recogniser, recogniser_hash: str, folder: Path) -> ReferenceKanji | None:
    """The real characters of a dataset folder; None where the folder is none or its rows name no characters.

    Computed on the first call (some ten seconds) and kept as `<folder>-references-<key>.safetensors`, by the dataset
    and the recogniser; where that file cannot be written, or is not what was written, they are computed again. Raises
    DatasetError where a row's picture cannot be read.
    """
    files = [path for path in (folder / "train" / "metadata.jsonl", folder / "test" / "metadata.jsonl")
             if path.is_file()]
    if not files:
        return None
    digest = hashlib.sha256(recogniser_hash.encode())
    for path in files:
        digest.update(path.read_bytes())
    cache = folder.with_name(f"{folder.name}-references-{digest.hexdigest()[:16]}.safetensors")
    kept = _read(cache, folder)
    if kept is not None:
        return kept
    entries = [entry for path in files for entry in _real_entries(path)]
    if not entries:
        return None
    embeddings = _embed(network, [folder / name for name, _ in entries])
    _write(cache, embeddings, entries)
    return ReferenceKanji(embeddings, tuple(literal for _, literal in entries),
                          tuple(folder / name for name, _ in entries))


def _real_entries(metadata: Path) -> Iterator[tuple[str, str]]:
    """The picture (relative to the dataset folder) and the literal of each real character of a split."""
    entries, _ = read_json_lines(metadata)  # read_dataset reports what cannot be read
    for _, row in entries:
        name, literal = row.get("file_name"), row.get("literal")
        if row.get("kind", "real") == "real" and all(isinstance(one, str) and one for one in (name, literal)):
            yield f"{metadata.parent.name}/{name}", literal


@torch.no_grad()
def _embed(network: Recogniser, paths: list[Path]) -> torch.Tensor:
    found = []
    with tqdm(total=len(paths), desc="reading real kanji", unit="kanji", leave=False) as bar:
        for start in range(0, len(paths), BATCH):
            images = [_open(path) for path in paths[start:start + BATCH]]
            found.append(network(to_ink(images)).embedding)
            bar.update(len(images))
    return torch.cat(found)


def _open(path: Path) -> Image.Image:
    try:
        return decoded(file_bytes(path))
    except Exception as error:  # Pillow raises anything from OSError to SyntaxError on a broken file
        raise DatasetError(f"{path}: is no whole picture ({first_line(error)}); the kanji set is made anew by: "
                           "python dataExtraction/main.py") from error


def _read(cache: Path, folder: Path) -> ReferenceKanji | None:
    try:
        with safe_open(cache, framework="pt") as file:
            text, digest = file.metadata()["entries"], file.metadata()["sha256"]
            embeddings = file.get_tensor("embeddings")
        if digest != _digest(embeddings, text):
            return None
        entries = json.loads(text)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return ReferenceKanji(embeddings, tuple(literal for _, literal in entries),
                          tuple(folder / name for name, _ in entries))


def _write(cache: Path, embeddings: torch.Tensor, entries: list[tuple[str, str]]) -> None:
    embeddings, text = embeddings.contiguous(), json.dumps(entries, ensure_ascii=False)
    with suppress(OSError, SafetensorError), replacing(cache) as temporary:
        save_file({"embeddings": embeddings}, temporary,
                  metadata={"entries": text, "sha256": _digest(embeddings, text)})


def _digest(embeddings: torch.Tensor, entries: str) -> str:
    """Of both together: half a file overwritten is a file that safetensors reads."""
    digest = hashlib.sha256(entries.encode())
    digest.update(embeddings.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
