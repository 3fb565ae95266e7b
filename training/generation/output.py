"""How a drawn image is saved: a PNG, and a JSON beside it that says how it was made and how it is drawn again."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import Image

from common.files import save_image, write_text
from common.paths import shown_name
from common.quiet import known_noise_off
from common.settings import MAY_DIFFER
from generation.best_of import Candidate
from generation.check import found_components
from generation.request import ImageRequest
from generation.settings import SamplingSettings
from models.pipelines import module_hash
from planner.plan import Plan
from recogniser.judge import Reading

with known_noise_off():
    from diffusers import StableDiffusionPipeline

PROGRAM = "python training/generate.py"


def model_provenance(name: str, pipeline: StableDiffusionPipeline) -> dict[str, str]:
    """Which model it is: its name, without a folder of this machine, and SHA-256 of its two networks."""
    return {"name": shown_name(name), "unet_sha256": module_hash(pipeline.unet),
            "vae_sha256": module_hash(pipeline.vae)}


def image_provenance(candidate: Candidate, settings: SamplingSettings, best_of: int,
                     model: dict[str, str]) -> dict[str, Any]:
    """What an image's JSON says of how it was made; reading and found components only where there is a reading.

    `plan` and `reason` are null of words that were drawn as they are; `found` are meaning forms.
    """
    request, reading, plan = candidate.request, candidate.reading, candidate.request.plan
    read = {"reading": reading_json(reading)} if reading else {}
    if reading and plan is not None:
        read["found"] = [component.form for component in found_components(plan, reading)]
    return {"words": request.words, "prompt": request.prompt, "plan": None if plan is None else plan.to_json(),
            "reason": None if plan is None else plan.reason(), "seed": request.seed,
            "command": redraw_command(request, settings), "strokes": request.strokes, "steps": settings.steps,
            "guidance_scale": settings.guidance_scale, "guided_fraction": settings.guided_fraction,
            "best_of": best_of, "model": model, **read}


def redraw_command(request: ImageRequest, settings: SamplingSettings) -> str:
    """The command that draws an image again, with the flags that differ from generate.py's defaults.

    A plan is named by its components' forms, so that it stays the same under another planner and where two share a
    name, as 言 and 曰 do ("say"); words that were drawn as they are want none. The device is left out, which changes an
    image by no more than a rounding; of a model's folder on this machine only the last part is told.
    """
    values = {field.name: getattr(settings, field.name) for field in fields(SamplingSettings)
              if not field.metadata.get(MAY_DIFFER)}
    values |= {"model": shown_name(settings.model), "seed": request.seed, "strokes": request.strokes}
    defaults = {field.name: field.default for field in fields(SamplingSettings)}
    flags = _plan_flags(request.plan) + [
        f"--{name} {shlex.quote(str(value))}" for name, value in values.items() if value != defaults.get(name)]
    words = shlex.quote(request.words)
    if request.words.startswith("-"):  # no flag: they stand behind the mark that ends those
        return " ".join([PROGRAM, *flags, "--", words])
    return " ".join([PROGRAM, words, *flags])


def _plan_flags(plan: Plan | None) -> list[str]:
    """What makes generate.py plan the same; nothing of an existing kanji, whose meaning is drawn either way."""
    if plan is None:
        return ["--plan off"]
    if plan.source == "kanji":
        return []
    return [f"--parts {shlex.quote(', '.join(one.form for one in plan.components))}"]


def reading_json(reading: Reading) -> dict[str, Any]:
    """What an image's JSON says of a reading."""
    return {"explanation": reading.explain(), "well_formed_probability": round(reading.well_formed, 4),
            "is_well_formed": reading.is_well_formed, "strokes": reading.strokes,
            "components": [str(component) for component in reading.components]}


def save_sample(image: Image.Image, folder: Path, stem: str, provenance: dict[str, Any]) -> None:
    """Save an image as STEM.png and what is to be said of it as STEM.json. Raises OSError."""
    save_image(image, folder / f"{stem}.png")
    write_text(folder / f"{stem}.json", sample_json(provenance))


def sample_json(provenance: dict[str, Any]) -> str:
    """The text of an image's JSON."""
    return json.dumps(provenance, indent=1, ensure_ascii=False) + "\n"
