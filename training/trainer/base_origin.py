"""How the embedded base's weights came about, for its card: what its run folders and its dataset's manifest say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import sha256
from trainer.run_folder import CONFIG, logged_metrics


@dataclass(frozen=True)
class Origin:
    """What is known of weights beside the settings of their phases."""

    command: str
    """What trained them, in one line; a path of this machine is its last part alone."""
    dataset: str
    """The sources of the pictures and the options of the command that made them; empty where no manifest says it."""
    dataset_sha256: tuple[str, ...]
    """Of the rows and pictures that the phases learned from; one where all learned from the same."""
    code: tuple[str, ...]
    """The project's commits and the versions of the libraries."""
    machines: tuple[str, ...]
    """Processors or GPUs."""
    hours: Mapping[str, float]
    """Of updates alone, by phase; what is encoded, sampled and saved comes to it."""
    images: int
    """How many images the updates saw, all phases together."""
    files_sha256: Mapping[str, str]
    """By the path of a file of weights within the folder."""


def origin_of(folder: Path, command: str, dataset: Path, runs: Mapping[str, Path]) -> Origin | None:
    """What the card of weights in `folder` says of their origin; None where a run tells nothing of itself.

    dataset: the dataset folder; runs: the run folder of each phase, in their order. Raises OSError.
    """
    configs = {name: json.loads((run / CONFIG).read_text(encoding="utf8")) for name, run in runs.items()
               if (run / CONFIG).is_file()}
    if configs.keys() != runs.keys():
        return None
    samples = {name: config["samples_per_update"] for name, config in configs.items()}
    metrics = {name: logged_metrics(run) for name, run in runs.items()}
    return Origin(
        command, _dataset_said(dataset), _each_once(config["dataset_sha256"] for config in configs.values()),
        _each_once(_code_said(config) for config in configs.values()),
        _each_once(config["machine"] for config in configs.values() if config.get("machine")),
        {name: _seconds(metrics[name], samples[name]) / 3600 for name in runs},
        sum(lines[-1]["step"] * samples[name] for name, lines in metrics.items() if lines),
        {file.relative_to(folder).as_posix(): sha256(file) for file in sorted(folder.rglob("*.safetensors"))})


def _seconds(lines: list[dict[str, Any]], samples: int) -> float:
    """How long the updates took that metrics.jsonl tells of, each line of those since the line before."""
    before = [0, *(line["step"] for line in lines)]
    return sum((line["step"] - since) * samples / line["images_per_s"]
               for since, line in zip(before, lines, strict=False) if line.get("images_per_s"))


def _dataset_said(dataset: Path) -> str:
    try:
        manifest = json.loads((dataset / "manifest.json").read_text(encoding="utf8"))
        sources = [f"{source['name']} {source['version']}" for source in manifest["sources"]]
        options = [f"{name} {value}" for name, value in manifest["options"].items() if value is not None]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f"{' and '.join(sources)}; {', '.join(options)}"


def _code_said(config: Mapping[str, Any]) -> str:
    libraries = ", ".join(f"{name} {config['packages'][name]}" for name in ("torch", "diffusers", "transformers"))
    return f"commit {config['git_commit'] or 'unknown'}, {libraries}"


def _each_once(said: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(said))
