"""The result of a run: a pipeline folder with its model card, and its way to the hub."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from safetensors.torch import save_file

from common.errors import UserError
from common.files import appearing
from common.quiet import known_noise_off
from generation.sampling import use_fast_sampler
from models.averaging import average
from models.pipelines import load_model, load_pipeline
from trainer import model_card
from trainer.config import TrainConfig

with known_noise_off():
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel


KOHYA_FILE = "kohya_lora.safetensors"


def save_pipeline(config: TrainConfig, unet: UNet2DConditionModel, facts: dict[str, Any], grid: Path) -> Path:
    """Write `pipeline/` of the run folder: the base with the trained UNet, in safetensors, and its card with the grid.

    A LoRA is fused into the pipeline, and written beside it as `lora/pytorch_lora_weights.safetensors` and, for other
    programs, `lora/kohya_lora.safetensors`.
    """
    pipeline = load_pipeline(config.pretrained_model_name_or_path, config.revision)
    if config.lora_rank is not None:
        _save_lora(unet, config.output_dir / "lora")
    pipeline.unet = _plain_copy(unet, pipeline.unet)
    pipeline.unet.register_to_config(sample_size=config.resolution // pipeline.vae_scale_factor)  # what is drawn then
    use_fast_sampler(pipeline)
    return write_folder(pipeline, torch.float16, config.output_dir / "pipeline", model_card.text(config, facts), grid)


def write_folder(pipeline: StableDiffusionPipeline, dtype: torch.dtype, final: Path, card: str,
                 grid: Path | None = None) -> Path:
    """Write a pipeline folder in safetensors with its card and, where there is one, the grid that the card shows.

    It appears whole, in place of an older one, and says nothing of this machine.
    """
    with appearing(final) as building:
        with known_noise_off():
            pipeline.to("cpu").to(dtype).save_pretrained(building, safe_serialization=True)
        _forget_paths(building)
        if grid is not None:
            shutil.copy(grid, building / "samples.png")
        (building / "README.md").write_text(card, encoding="utf8")
    return final


@dataclass(frozen=True, kw_only=True)
class AverageConfig:
    """Settings of an average."""

    models: Annotated[tuple[str, str], tyro.conf.Positional]
    """Two of: `tiny`, run folders, pipeline folders, hub ids."""
    share: float = 0.5
    """The second one's share, 0 to 1."""
    output: Path = Path("runs/averaged")
    """The pipeline folder to write."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"--share {self.share}: must be between 0 and 1")


def write_average(config: AverageConfig) -> None:
    """Average two models and write the pipeline folder. Raises UserError where it is there or cannot be made."""
    if config.output.exists():
        raise UserError(f"--output {config.output}: is there already; name another or remove it")
    first, second = (load_model(name) for name in config.models)
    write_folder(average(first, second, config.share), torch.float16, config.output,
                 model_card.averaged_text(*config.models, config.share))


def _forget_paths(folder: Path) -> None:
    """Take out of the configurations where the base lay: that says nothing to others, and tells of this machine."""
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf8"))
        if content.pop("_name_or_path", None) is not None:
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


def _save_lora(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write the adapter in two forms: that of `load_lora_weights`, and that of AUTOMATIC1111 and ComfyUI (kohya's)."""
    from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
    from peft.utils import get_peft_model_state_dict

    adapter = {name: weight.detach().cpu().contiguous() for name, weight in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=convert_state_dict_to_diffusers(adapter), safe_serialization=True)
    save_file(convert_state_dict_to_kohya({f"unet.{name}": weight for name, weight in adapter.items()}),
              folder / KOHYA_FILE)

