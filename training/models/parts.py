"""The parts of a pipeline folder, each loaded whole or refused by name.

The libraries fill in what a file lacks with random weights and go on. Which tensors these were is in what a loader
reports, and is refused here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from common.errors import first_line
from common.quiet import known_noise_off
from models.hub import ModelError

with known_noise_off():
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

PARTS = ("unet", "vae", "text_encoder")  # those with weights
LISTED_TENSORS = 3  # how many are named of those that are missing
MAX_SIDE = 4096  # px of a picture; Stable Diffusion 1.x and 2.x are made for 768 at most


def load_part(kind: type, folder: Path) -> tuple[torch.nn.Module, set[str]]:
    """A diffusers or transformers model in fp32 on the CPU, from safetensors alone, and what its file lacked of it.

    Raises whatever the loaders do of a broken folder.
    """
    precision = "dtype" if issubclass(kind, transformers.PreTrainedModel) else "torch_dtype"
    module, report = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True,
                                          output_loading_info=True, **{precision: torch.float32})
    return module, set(report["missing_keys"])


def load_whole(kind: type, folder: Path) -> torch.nn.Module:
    """The same where nothing may be lacking. Raises ModelError where something does, or nothing can be loaded."""
    try:
        with known_noise_off():
            module, lacking = load_part(kind, folder)
    except Exception as error:  # whatever a broken folder makes the loaders raise
        raise ModelError(f"{folder}: no whole {kind.__name__} ({first_line(error)})") from error
    refuse_incomplete(str(folder), module, lacking)
    return module


def part_class(index: dict[str, Any], part: str) -> type:
    """The class of a part, as model_index.json names it. Raises ModelError where no pipeline of ours has such a one."""
    entry = index.get(part)
    library, name = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    known = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}.get(part)
    if known is None and library == "transformers":
        known = getattr(transformers, str(name), None)
        if not (isinstance(known, type) and issubclass(known, transformers.PreTrainedModel)):
            known = None
    if known is None or known.__name__ != name:
        raise ModelError(f"its model_index.json names {name or 'nothing'} as its {part}, which is none that a Stable "
                         "Diffusion 1.x or 2.x pipeline has")
    return known


def refuse_incomplete(name: str, module: torch.nn.Module, lacking: set[str]) -> None:
    """Raise ModelError where the module has tensors that its file lacked."""
    if random := sorted(lacking & module.state_dict().keys()):
        shown = ", ".join(random[:LISTED_TENSORS]) + (", ..." if len(random) > LISTED_TENSORS else "")
        raise ModelError(f"{name}: its weights lack {len(random)} of the tensors of a {type(module).__name__} "
                         f"({shown}), so it is not whole. Copy or download it again.")


def refuse_unusable(name: str, pipeline: StableDiffusionPipeline) -> None:
    """Raise ModelError where the parts are whole and a picture can still not be drawn: sizes and tokens."""
    side, factor = pipeline.unet.config.sample_size, pipeline.vae_scale_factor
    if not isinstance(side, int) or not 1 <= side * factor <= MAX_SIDE:
        raise ModelError(f"{name}: unet/config.json: sample_size {side} makes pictures of {side} x {factor} px; from 1 "
                         f"to {MAX_SIDE} px can be drawn")
    tokenizer, config = pipeline.tokenizer, pipeline.text_encoder.config
    ids = tokenizer.get_vocab().values()
    if len(ids) <= len(set(tokenizer.all_special_ids)):
        raise ModelError(f"{name}: tokenizer/ is missing or knows no words. Copy or download it again.")
    if max(ids) >= config.vocab_size:
        raise ModelError(f"{name}: tokenizer/ has {max(ids) + 1} tokens and text_encoder/ knows {config.vocab_size}: "
                         "they do not belong together")
    if tokenizer.model_max_length > config.max_position_embeddings:
        raise ModelError(f"{name}: tokenizer/tokenizer_config.json: model_max_length {tokenizer.model_max_length}; "
                         f"text_encoder/ takes {config.max_position_embeddings} tokens")
