"""The files of a trained LoRA: that of `load_lora_weights`, and that of AUTOMATIC1111 and ComfyUI (kohya's)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from common.files import appearing
from common.quiet import known_noise_off
from models.hub import ModelError
from models.original_layout import V2, original_family
from trainer.config import CAPTION_DROPOUT, TrainConfig
from trainer.model_card import public_name

with known_noise_off():
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

KOHYA_FILE = "kohya_lora.safetensors"


def save_lora(unet: UNet2DConditionModel, folder: Path, metadata: Mapping[str, str]) -> None:
    """Write the adapter in both forms; `metadata` stand in the header of kohya's."""
    from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
    from peft.utils import get_peft_model_state_dict

    adapter = {name: weight.detach().cpu().contiguous() for name, weight in get_peft_model_state_dict(unet).items()}
    with appearing(folder) as building:
        StableDiffusionPipeline.save_lora_weights(
            building, unet_lora_layers=convert_state_dict_to_diffusers(adapter), safe_serialization=True)
        save_file(convert_state_dict_to_kohya({f"unet.{name}": weight for name, weight in adapter.items()}),
                  building / KOHYA_FILE, metadata={"format": "pt", **metadata})


def kohya_metadata(config: TrainConfig, provenance: Mapping[str, Any], base: StableDiffusionPipeline) -> dict[str, str]:
    """What programs that read kohya's form show of a LoRA, by kohya's names: what is true of this run, as text.

    `ss_base_model_version` is left out where the base is neither Stable Diffusion 1.x nor 2.x. No path of this machine
    is in it. provenance: see model_card.text.
    """
    settings = {
        "ss_output_name": config.output_dir.resolve().name,
        "ss_sd_model_name": public_name(config.pretrained_model_name_or_path), **_version(base),
        "ss_network_module": "networks.lora", "ss_network_dim": config.lora_rank,
        "ss_network_alpha": config.lora_rank,  # as the trainer adds it, so that the adapter is scaled by 1
        "ss_resolution": (config.resolution, config.resolution), "ss_seed": config.seed,
        "ss_max_train_steps": config.max_train_steps, "ss_steps": config.max_train_steps,
        "ss_total_batch_size": provenance["samples_per_update"],
        "ss_learning_rate": config.learning_rate, "ss_unet_lr": config.learning_rate,
        "ss_lr_scheduler": config.lr_scheduler, "ss_lr_warmup_steps": config.lr_warmup_steps,
        "ss_optimizer": "torch.optim.adamw.AdamW", "ss_max_grad_norm": config.max_grad_norm,
        "ss_mixed_precision": config.mixed_precision, "ss_gradient_checkpointing": config.gradient_checkpointing,
        "ss_min_snr_gamma": config.snr_gamma, "ss_noise_offset": config.noise_offset or None,
        "ss_caption_dropout_rate": CAPTION_DROPOUT, "ss_cache_latents": True,
        "ss_flip_aug": False, "ss_random_crop": False, "ss_color_aug": False}
    return {name: str(value) for name, value in settings.items() if value is not None}


def _version(base: StableDiffusionPipeline) -> dict[str, Any]:
    try:
        is_v2 = original_family(base) == V2
    except ModelError:
        return {}
    predicts_v = base.scheduler.config.get("prediction_type") == "v_prediction"
    return {"ss_base_model_version": f"sd_{'v2' if is_v2 else 'v1'}{'_v' * predicts_v}", "ss_v2": is_v2}
