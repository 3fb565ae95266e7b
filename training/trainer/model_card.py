"""The model cards: of a run's result, of an average, of an exported model and of the embedded base.

The layout and what all have in common lie in templates/card.md.jinja; each card's own template fills its blocks. The
snippets of a card run as they stand, with diffusers alone.
"""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.paths import model_dir
from generation.guidance import GUIDED_FRACTION
from trainer.base_origin import Origin
from trainer.config import TrainConfig, public_settings

TEMPLATES = Path(__file__).with_name("templates")
_SOURCES = """\
[KanjiVG](https://kanjivg.tagaini.net) (strokes; copyright Ulrich Apel, CC BY-SA 3.0) and from
[KANJIDIC2](https://www.edrdg.org/wiki/index.php/KANJIDIC_Project) (meanings; the property of the Electronic Dictionary
Research and Development Group, used in conformance with the Group's licence, CC BY-SA 4.0)."""
DATA_ATTRIBUTION = f"When the training pictures are those of `dataExtraction/main.py`, they derive from\n{_SOURCES}"
_KANJI_ATTRIBUTION = f"The images and captions that it was trained on derive from\n{_SOURCES}"
_BASE_LICENSES = {"bguisard/stable-diffusion-nano-2-1": "creativeml-openrail-m",
                  "CompVis/stable-diffusion-v1-4": "creativeml-openrail-m", "tiny": "cc-by-sa-4.0"}
MINILM_LICENSE_FILE = "text_encoder/LICENSE"  # in a pipeline folder
_MINILM = f"""
`text_encoder/` and `tokenizer/` are MiniLM
([sentence-transformers/all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2)) without its
pooling layer and in this folder's precision, under the Apache License 2.0: `{MINILM_LICENSE_FILE}`.
"""
EXPORTED_TINY = Path("tiny-pipeline")  # where the embedded base's card has its whole pipeline written to


@dataclass(frozen=True)
class Sampling:
    """How a card's snippets draw: the words, the denoising steps and the scale of guidance."""

    words: str = "Full Moon"
    steps: int = 20
    guidance_scale: float = TrainConfig.guidance_scale


def text(config: TrainConfig, provenance: dict[str, Any], repo: str | None = None) -> str:
    """The card of a run's result, Hugging Face front matter included; it refers to samples.png beside it.

    provenance: what is known beside the settings; `kanji` says whether the set is one of kanji. Its snippets load the
    pipeline from the hub's `repo` where that is given, else from the run folder. No path of this machine beside that
    one is in it, and that one is relative.
    """
    base, is_kanji = config.pretrained_model_name_or_path, bool(provenance["kanji"])
    sampling = Sampling(config.validation_prompts[0], config.num_inference_steps, config.guidance_scale)
    return _render(
        "run.md.jinja", f"{config.output_dir.name}: {'new characters' if is_kanji else 'pictures'} from English words",
        repo or local_name(config.output_dir, "pipeline"), repo or local_name(config.output_dir), sampling,
        license=_BASE_LICENSES.get(base, "other"), kanji=is_kanji, lora=config.lora_rank is not None,
        base_model=base if _is_hub_id(base) else None,
        attributed=is_kanji or not _is_hub_id(base),  # a base of ours derives from that data, whatever it learns since
        grid=grid_caption(config), base=public_name(base), lora_rank=config.lora_rank,
        component_tokens=config.component_caption_fraction > 0, resolution=config.resolution,
        max_train_steps=config.max_train_steps, batch_size=provenance["samples_per_update"],
        settings=json.dumps({**public_settings(config), **provenance}, indent=1, sort_keys=True))


def averaged_text(first: str, second: str, fraction: float, output: Path, guidance_scale: float) -> str:
    """The card of an average, written to `output`, of two models of the same base."""
    return _copy_text(
        first, output, guidance_scale, "An average of two models",
        f"The average of two fine-tuned models of one base: `{public_name(first)}` and, with a fraction of "
        f"{fraction:g}, `{public_name(second)}`.",
        "By `training/average_models.py` from those two, whose cards say how they were trained.")


def exported_text(model: str, output: Path, guidance_scale: float) -> str:
    """The card of a model written to `output` as a plain pipeline."""
    return _copy_text(
        model, output, guidance_scale, f"{public_name(model)}, as a plain pipeline",
        f"`{public_name(model)}` as a Stable Diffusion pipeline that diffusers loads by itself, with this project's "
        "sampler as its scheduler.",
        "Written by `training/export.py`, not trained further; the model's own card says how it was trained.")


def base_text(phases: Mapping[str, TrainConfig], origin: Origin | None = None) -> str:
    """The card of the embedded base's weights, whose UNet was trained in these phases, by name and in their order.

    origin: how they came about, where that is known.
    """
    settings = list(phases.values())
    last = settings[-1]
    return _render(
        "tiny.md.jinja", "tiny: the embedded base", EXPORTED_TINY.as_posix(), "tiny",
        Sampling(guidance_scale=last.guidance_scale), license="cc-by-sa-4.0", grid=grid_caption(last),
        component_tokens=last.component_caption_fraction > 0, phases=phases, origin=origin,
        longer=longer(settings[0]))


def longer(settings: TrainConfig) -> str:
    """The command that trains the embedded base further, as `settings` did, from its shipped weights."""
    rate, bias = settings.learning_rate, settings.timestep_bias_strategy
    return f"""\
python training/train_text_to_image.py --preset tiny --output_dir runs/tiny-longer --max_train_steps 20000 \\
  --optimizer {settings.optimizer} --train_batch_size {settings.train_batch_size} --learning_rate {rate:g} \\
  --lr_scheduler constant_with_warmup --lr_cooldown_steps 2000 --composed_fraction {settings.composed_fraction:g} \\
  --frequent_kanji_weight {settings.frequent_kanji_weight:g} --timestep_bias_strategy {bias}"""


def with_minilm(card: str) -> str:
    """A card, whose last section is that of licences, with what is to be said of a pipeline that contains MiniLM."""
    return f"{card.rstrip()}\n{_MINILM}"


def grid_caption(config: TrainConfig) -> str:
    """What the sample grid shows, in words."""
    return (f"{', '.join(config.validation_prompts)}: seed 0, {config.num_inference_steps} steps, guidance "
            f"{config.guidance_scale:g} in the first {GUIDED_FRACTION:.0%} of them, nothing picked.")


def local_name(folder: Path, *parts: str) -> str:
    """What a card calls a folder of this machine: a relative path as it was given, else the folder's name alone."""
    return (Path(folder.name) if folder.is_absolute() else folder).joinpath(*parts).as_posix()


def licence(model: str) -> dict[str, str]:
    """The licence that a model's own card names, where it is known, and what it derives from, for a file's header."""
    own = _own_card_data(model)
    is_kanji = "kanji" in (own.tags or ())
    said = {"license": own.license} if own.license else {}
    if is_kanji or not _is_hub_id(model):
        said["description"] = " ".join((_KANJI_ATTRIBUTION if is_kanji else DATA_ATTRIBUTION).split())
    return said


def _copy_text(model: str, output: Path, guidance_scale: float, title: str, what: str, trained: str) -> str:
    """The card of a pipeline that was written, without being trained, from `model`: of its licence and its kind."""
    location, own = local_name(output), _own_card_data(model)
    is_kanji = "kanji" in (own.tags or ())
    return _render("copy.md.jinja", title, location, location, Sampling(guidance_scale=guidance_scale),
                   license=own.license or "other", kanji=is_kanji, base_model=model if _is_hub_id(model) else None,
                   attributed=is_kanji or not _is_hub_id(model), what=what, trained=trained)


def _own_card_data(model: str) -> ModelCardData:
    """What a model's own card says of it; of a model without one, the licence where it is known."""
    folder = model_dir(model)
    for card in (folder / "pipeline" / "README.md", folder / "README.md"):
        if card.is_file():
            return ModelCard.load(card).data
    return ModelCardData(license=_BASE_LICENSES.get(model))


def _render(template: str, title: str, location: str, model: str, sampling: Sampling, *, license: str,
            kanji: bool = True, lora: bool = False, base_model: str | None = None, attributed: bool = True,
            grid: str | None = None, component_tokens: bool = False, **values: Any) -> str:
    """A card from its template. `location` is what diffusers loads, `model` what generate.py calls it."""
    tags = ["stable-diffusion", "text-to-image", *(["kanji"] if kanji else []), *(["lora"] if lora else [])]
    front = ModelCardData(license=license, library_name="diffusers", pipeline_tag="text-to-image",
                          base_model=base_model, tags=tags)
    card = _environment().get_template(template).render(
        front_matter=front.to_yaml(), title=title, location=location, model=model, words=sampling.words,
        steps=sampling.steps, guidance_scale=f"{sampling.guidance_scale:g}", guided_fraction=GUIDED_FRACTION,
        license=license, kanji=kanji, grid=grid, component_tokens=component_tokens,
        attribution=(_KANJI_ATTRIBUTION if kanji else DATA_ATTRIBUTION) if attributed else None, **values)
    return str(ModelCard(card))


@functools.cache
def _environment() -> Environment:
    """Where templates are found, and their filters: `literal`, a string in Python code; `shell`, one in a command."""
    found = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True,
                        lstrip_blocks=True, keep_trailing_newline=True)
    found.filters["literal"] = functools.partial(json.dumps, ensure_ascii=False)
    found.filters["shell"] = shlex.quote
    return found


def _is_hub_id(model: str) -> bool:
    """Whether a model's name is one of the hub's, OWNER/NAME, and no folder of this machine."""
    return model.count("/") == 1 and not model.startswith((".", "/", "~")) and not Path(model).is_dir()


def public_name(model: str) -> str:
    """What a card calls a model: a hub id as it is, of a folder the last part, since it may lie anywhere."""
    return model if _is_hub_id(model) else Path(model).name
