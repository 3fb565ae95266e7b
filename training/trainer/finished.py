"""Whether a run is complete: finished with these settings, from what is still there, its pipeline as it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common.files import sha256, write_text
from common.paths import model_dir
from common.settings import differences, with_current_names
from dataset.caption_files import SUFFIXES
from dataset.folder_files import IMAGE_SUFFIXES
from generation.drawn_components import TABLE
from trainer.config import TrainConfig, result_settings

FINISHED, PIPELINE = "finished.json", "pipeline"
CARD = "README.md"  # which a user may write into
INPUTS, OUTPUT = "inputs_sha256", "pipeline_sha256"  # the entries of finished.json beside the settings
# Of what a run reads; a tokenizer has a .txt too.
_INPUT_SUFFIXES = IMAGE_SUFFIXES | {".jsonl", ".csv", ".json", ".safetensors", *SUFFIXES.values()}


def mark_finished(path: Path, config: TrainConfig, inputs: Mapping[str, str]) -> None:
    """Write finished.json into a run folder whose pipeline is written: the settings, what was made, and of what.

    inputs: what input_digests gave before anything was read.
    """
    content = {**result_settings(config), INPUTS: inputs, OUTPUT: _digests(path / PIPELINE)}
    write_text(path / FINISHED, json.dumps(content, indent=1) + "\n")


def is_finished(path: Path, config: TrainConfig, say: Callable[[str], None] = print) -> bool:
    """Whether the run of these very settings is complete; no picture is decoded and no model loaded.

    Where only pictures, captions, models or the pipeline are not what they were, `say` is told which. An input that is
    gone is not missed, and what a finished.json of an older version does not name is not compared.
    """
    try:
        finished = with_current_names(TrainConfig, json.loads((path / FINISHED).read_text(encoding="utf8")))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    if differences(finished, result_settings(config)):
        return False
    changed = _changed_inputs(finished.get(INPUTS), config) + _damages(path / PIPELINE, finished.get(OUTPUT))
    for change in changed:
        say(f"{path} is not complete: {change}")
    return not changed


def input_digests(config: TrainConfig) -> dict[str, str]:
    """By setting, a digest of the files on this machine that a run reads; a hub's repository and what is gone is none.

    It is one of bytes, not of what the rows say, which takes reading them.
    """
    read = {"pretrained_model_name_or_path": [model_dir(config.pretrained_model_name_or_path)],
            "train_data_dir": [_split(config.train_data_dir)],
            "extra_data_dir": [_split(folder) for folder in config.extra_data_dir],
            "held_out_prompts": [config.held_out_prompts], "reward_model": [config.reward_model]}
    return {name: _digest_of(paths) for name, paths in read.items()
            if paths and all(path is not None and path.exists() for path in paths)}


def _changed_inputs(before: Any, config: TrainConfig) -> list[str]:
    before = before if isinstance(before, Mapping) else {}
    return [f"--{name} {getattr(config, name)} holds something else than when it was trained"
            for name, digest in input_digests(config).items() if name in before and before[name] != digest]


def _damages(pipeline: Path, before: Any) -> list[str]:
    """What is wrong with a pipeline folder, if anything."""
    if not (pipeline / "model_index.json").is_file():
        return [f"{pipeline} is missing or emptied"]
    before = before if isinstance(before, Mapping) else {}
    now = _digests(pipeline)
    return [f"{pipeline / name} is {'changed' if name in now else 'missing'}"
            for name, digest in before.items() if now.get(name) != digest]


def _digests(pipeline: Path) -> dict[str, str | None]:
    """The SHA-256 of each file of a pipeline folder, without its card's; None for one that cannot be read."""
    return {file.relative_to(pipeline).as_posix(): _sha256(file)
            for file in sorted(pipeline.rglob("*")) if file.is_file() and file.name != CARD}


def _digest_of(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for root in paths:
        for file in _files(root):
            digest.update(f"{file.relative_to(root).as_posix()}\n{_sha256(file)}\n".encode())
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    """The files that a run may read of a folder, or the input itself where it is a file; hidden ones are not read.

    A base's table of drawn components is generate.py's, and may be measured anew.
    """
    if root.is_file():
        return iter([root])
    return (file for file in sorted(root.rglob("*")) if file.suffix.lower() in _INPUT_SUFFIXES
            and not file.name.startswith(".") and file.name != TABLE and file.is_file())


def _split(folder: Path) -> Path:
    """What is trained on of a dataset folder: its train/ where it has one."""
    return folder / "train" if (folder / "train").is_dir() else folder


def _sha256(file: Path) -> str | None:
    try:
        return sha256(file)
    except OSError:
        return None
