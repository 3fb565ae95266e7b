"""Models as plain diffusers pipeline folders with a model card: a run's result, an average, an export of any model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from common.errors import UserError
from common.files import appearing
from common.quiet import known_noise_off
from common.settings import check_ranges, setting
from generation.sampling import use_fast_sampler
from models.averaging import average
from models.component_tokens import add_component_tokens
from models.pipelines import load_model, load_pipeline
from models.tiny import MINILM_LICENSE
from trainer import model_card
from trainer.config import TrainConfig
from trainer.lora_files import kohya_metadata, save_lora
from trainer.presets import PRESETS
from trainer.single_file import write_file

with known_noise_off():
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from transformers import BertModel

PICKLED = frozenset({".ckpt", ".pt", ".pth", ".bin"})
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


def save_pipeline(config: TrainConfig, unet: UNet2DConditionModel, provenance: dict[str, Any], grid: Path,
                  component_names: Mapping[str, str]) -> Path:
    """Write `pipeline/` of the run folder: the base with the trained UNet, in safetensors, and its card with the grid.

    A LoRA is fused into the pipeline, and written beside it as `lora/pytorch_lora_weights.safetensors` and, for other
    programs, `lora/kohya_lora.safetensors`. provenance: see model_card.text; component_names: what the base was given
    tokens for, which are the pipeline's too.
    """
    pipeline = load_pipeline(config.pretrained_model_name_or_path, config.revision)
    add_component_tokens(pipeline, component_names)
    if config.lora_rank is not None:
        save_lora(unet, config.output_dir / "lora", kohya_metadata(config, provenance, pipeline))
    pipeline.unet = _plain_copy(unet, pipeline.unet)
    pipeline.unet.register_to_config(sample_size=config.resolution // pipeline.vae_scale_factor)  # what is drawn then
    return write_folder(pipeline, torch.float16, config.output_dir / "pipeline", model_card.text(config, provenance),
                        grid)


def write_folder(pipeline: StableDiffusionPipeline, dtype: torch.dtype, final: Path, card: str,
                 grid: Path | None = None) -> Path:
    """Write a pipeline folder in safetensors with its card and, where there is one, the grid that the card shows.

    Its scheduler is the sampler that generate.py draws with. It appears whole, in place of an older one, and says
    nothing of this machine. With MiniLM goes its licence.
    """
    use_fast_sampler(pipeline)
    with appearing(final) as building:
        with known_noise_off():
            pipeline.to("cpu").to(dtype).save_pretrained(building, safe_serialization=True)
        _mend_configs(building)
        if grid is not None:
            shutil.copy(grid, building / "samples.png")
        if isinstance(pipeline.text_encoder, BertModel):
            shutil.copyfile(MINILM_LICENSE, building / model_card.MINILM_LICENSE_FILE)
            card = model_card.with_minilm(card)
        (building / "README.md").write_text(card, encoding="utf8")
    return final


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of an export."""

    model: Annotated[str, tyro.conf.Positional]
    """`tiny` (the embedded base), a run folder, a pipeline folder, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit, for a hub id."""
    output: Path = Path("pipeline")
    """The pipeline folder to write; or, with the ending .safetensors, one file in the original layout of Stable
    Diffusion 1.x and 2.x, as AUTOMATIC1111 and ComfyUI read it."""
    dtype: Literal["fp32", "fp16"] | None = None
    """Precision of the weights: fp32 loses nothing, fp16 takes half the space; by default fp32 in a folder and fp16 in
    one file."""


def write_export(config: ExportConfig) -> str:
    """Write a model as a plain pipeline folder or as one file; returns what was written, in words.

    Raises UserError where it is there already, or the model is not or has no place in such a file.
    """
    _refuse_existing(config.output)
    as_file = config.output.suffix.lower() == ".safetensors"
    if config.output.suffix.lower() in PICKLED:
        raise UserError(f"--output {config.output}: is written as safetensors alone; name it "
                        f"{config.output.with_suffix('.safetensors')}")
    pipeline = load_model(config.model, config.revision)
    dtype = DTYPES[config.dtype or ("fp16" if as_file else "fp32")]
    if as_file:
        return write_file(pipeline, dtype, config.output, config.model)
    write_folder(pipeline, dtype, config.output,
                 model_card.exported_text(config.model, config.output, _guidance_scale(pipeline)))
    return f"pipeline: {config.output}"


@dataclass(frozen=True, kw_only=True)
class AverageConfig:
    """Settings of an average."""

    models: Annotated[tuple[str, str], tyro.conf.Positional]
    """Two of: `tiny`, run folders, pipeline folders, hub ids."""
    fraction: float = setting(0.5, was="share", at_least=0, at_most=1)
    """The weight of the second one, 0 to 1."""
    output: Path = Path("runs/averaged")
    """The pipeline folder to write."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


def write_average(config: AverageConfig) -> None:
    """Average two models and write the pipeline folder. Raises UserError where it is there or cannot be made."""
    _refuse_existing(config.output)
    first, second = (load_model(name) for name in config.models)
    write_folder(average(first, second, config.fraction), torch.float16, config.output, model_card.averaged_text(
        *config.models, config.fraction, config.output, _guidance_scale(first)))


def _refuse_existing(output: Path) -> None:
    """Raise UserError where there is something already that a new folder would take the place of."""
    if output.exists():
        raise UserError(f"--output {output}: is there already; name another or remove it")


def _guidance_scale(pipeline: StableDiffusionPipeline) -> float:
    """The scale of guidance that suits a model: the embedded base's, which MiniLM tells, or Stable Diffusion's."""
    return PRESETS["tiny" if isinstance(pipeline.text_encoder, BertModel) else "sd14"].guidance_scale


def _mend_configs(folder: Path) -> None:
    """Put right what the configurations of a saved pipeline say.

    Where the base lay says nothing to others, and tells of this machine. And transformers loads a text encoder in the
    dtype that its configuration names while diffusers loads all else in fp32 unless told otherwise: one saved in fp16
    has to say fp32, or plain `from_pretrained(FOLDER)` makes a pipeline whose parts do not go together. A dtype that is
    asked for there overrides both.
    """
    for path in folder.rglob("*.json"):
        before = json.loads(path.read_text(encoding="utf8"))
        content = {name: value for name, value in before.items() if name != "_name_or_path"}
        if path.parent.name == "text_encoder" and "dtype" in content:
            content["dtype"] = "float32"
        if content != before:
            path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf8")


def _plain_copy(trained: UNet2DConditionModel, base: UNet2DConditionModel) -> UNet2DConditionModel:
    """The trained weights in a UNet that has no adapter: a LoRA is fused into the base's own."""
    if not getattr(trained, "peft_config", None):
        base.load_state_dict({name: weight.detach().cpu() for name, weight in trained.state_dict().items()})
        return base
    from peft.utils import get_peft_model_state_dict

    base.load_lora_adapter(get_peft_model_state_dict(trained), prefix=None)
    base.fuse_lora()
    base.unload_lora()
    return base
