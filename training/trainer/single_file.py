"""A model as one file in the original layout of Stable Diffusion, as AUTOMATIC1111 and ComfyUI read it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from common.files import replacing
from common.quiet import known_noise_off
from models.component_tokens import component_tokens
from models.hub import ModelError
from models.original_layout import V2, original_family, original_tensors
from trainer import model_card

with known_noise_off():
    from diffusers import StableDiffusionPipeline


def write_file(pipeline: StableDiffusionPipeline, dtype: torch.dtype, path: Path, model: str) -> str:
    """Write UNet, autoencoder and text encoder into one safetensors file; returns what was written, in words.

    It is there whole or not at all. Its header says what kind of model it is, as ModelSpec has it
    (github.com/Stability-AI/ModelSpec), and under which licence `model` is. Raises ModelError where the model is not
    Stable Diffusion 1.x or 2.x.
    """
    try:
        family, tensors = original_family(pipeline), original_tensors(pipeline)
    except ModelError as error:
        raise ModelError(f"{model}: one file in the original layout is for Stable Diffusion 1.x and 2.x alone: {error}"
                         ". Leave .safetensors out of --output to write a pipeline folder.") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, temporary,
                  metadata={"format": "pt", **_model_spec(pipeline, family, model)})
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    written = f"model: {path}, Stable Diffusion {family}, which draws at {side} px"
    if tokens := len(component_tokens(pipeline.tokenizer)):
        written += (f"\nIts {tokens} tokens of components are left out, since such a file has no tokenizer: name "
                    "components by their words there.")
    return written


def _model_spec(pipeline: StableDiffusionPipeline, family: str, model: str) -> dict[str, str]:
    """What ModelSpec asks for, and the licence with its attributions."""
    predicts_v = pipeline.scheduler.config.get("prediction_type") == "v_prediction"
    v2 = "stable-diffusion-v2-768-v" if predicts_v else "stable-diffusion-v2-512"
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    spec = {"sai_model_spec": "1.0.0", "architecture": v2 if family == V2 else "stable-diffusion-v1",
            "implementation": "https://github.com/Stability-AI/generative-models",
            "title": model_card.public_name(model), "resolution": f"{side}x{side}",
            "prediction_type": "v" if predicts_v else "epsilon", **model_card.licence(model)}
    return {f"modelspec.{name}": value for name, value in spec.items()}
