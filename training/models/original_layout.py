"""Stable Diffusion 1.x and 2.x in the layout of the programs that they were published with.

CompVis's latent-diffusion and Stability AI's stablediffusion keep UNet, autoencoder and text encoder in one file, which
AUTOMATIC1111 and ComfyUI read. The tensors are those of the diffusers pipeline under other names, but for two things:
the autoencoder's attention is of 1x1 convolutions there, and 2.x has OpenCLIP's text encoder, in which queries, keys
and values are one matrix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch

from common.quiet import known_noise_off
from models.component_tokens import component_tokens
from models.hub import ModelError

with known_noise_off():
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTextModel

Tensors = dict[str, torch.Tensor]
V1, V2 = "1.x", "2.x"

_UNET_ENDS = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
              "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2"}
_UNET_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
                "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
_VAE_ENDS = {**{f"{half}.{name}": f"{half}.{other}" for half in ("encoder", "decoder") for name, other in (
    ("conv_in", "conv_in"), ("conv_norm_out", "norm_out"), ("conv_out", "conv_out"))},
    "quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
_VAE_RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "conv_shortcut": "nin_shortcut"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP_LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
                    "self_attn.out_proj": "attn.out_proj"}
_OPEN_CLIP_ENDS = {"embeddings.token_embedding.weight": "token_embedding.weight",
                   "embeddings.position_embedding.weight": "positional_embedding",
                   "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias"}
_TOKENS = "embeddings.token_embedding.weight"


def original_family(pipeline: StableDiffusionPipeline) -> str:
    """V1 or V2, as the original programs tell them apart. Raises ModelError where a pipeline is of neither."""
    encoder, unet = pipeline.text_encoder, pipeline.unet
    if not isinstance(encoder, CLIPTextModel):
        raise ModelError(f"its text encoder is a {type(encoder).__name__}, where Stable Diffusion 1.x and 2.x have "
                         "CLIP's")
    families = {("quick_gelu", False): V1, ("gelu", True): V2}
    family = families.get((encoder.config.hidden_act, bool(unet.config.use_linear_projection)))
    if family is None:
        raise ModelError("its text encoder and its UNet are neither both of Stable Diffusion 1.x nor both of 2.x")
    return family


def original_tensors(pipeline: StableDiffusionPipeline) -> Tensors:
    """All tensors of a pipeline by their original names, in the pipeline's dtype.

    Tokens that the pipeline was given for components are left out: a program of that layout has no place for them, nor
    for the tokenizer that knows them. Raises ModelError where the pipeline has a tensor that the layout lacks.
    """
    family = original_family(pipeline)
    text = {name.removeprefix("text_model."): tensor for name, tensor in pipeline.text_encoder.state_dict().items()
            if not name.endswith("position_ids")}  # a constant, which older versions of transformers kept
    if component_tokens(pipeline.tokenizer):
        text[_TOKENS] = text[_TOKENS][:pipeline.tokenizer.vocab_size]
    parts = {"model.diffusion_model.": _renamed(pipeline.unet.state_dict(), _unet_names(pipeline)),
             "first_stage_model.": _vae(pipeline)}
    if family == V1:
        parts["cond_stage_model.transformer.text_model."] = text
    else:
        parts["cond_stage_model.model."] = _open_clip(text)
    return {prefix + name: tensor.contiguous() for prefix, tensors in parts.items() for name, tensor in tensors.items()}


def _renamed(tensors: Mapping[str, torch.Tensor], original: Callable[[str], str | None]) -> Tensors:
    """Tensors by their original names. `original` is given a name without its last word, `weight` or `bias`."""
    renamed = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        if (found := original(stem)) is None:
            raise ModelError(f"it has {name}, for which the layout of Stable Diffusion 1.x and 2.x has no place")
        renamed[f"{found}.{kind}"] = tensor
    return renamed


def _unet_names(pipeline: StableDiffusionPipeline) -> Callable[[str], str | None]:
    """The UNet's original names: its blocks are numbered through there, a down- or upsampler being one or in one."""
    size = pipeline.unet.config.layers_per_block + 1  # blocks of a level
    attentive = {index for index, block in enumerate(pipeline.unet.up_blocks) if hasattr(block, "attentions")}

    def original(stem: str) -> str | None:
        if found := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", stem):
            way, level, kind, layer, rest = found.groups()
            block = int(level) * size + int(layer)
            where = f"input_blocks.{block + 1}" if way == "down" else f"output_blocks.{block}"
            return _joined(f"{where}.0", _UNET_RESNET.get(rest)) if kind == "resnets" else f"{where}.1.{rest}"
        if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.([01])\.(.+)", stem):
            kind, layer, rest = found.groups()
            resnet = _joined(f"middle_block.{2 * int(layer)}", _UNET_RESNET.get(rest))
            return resnet if kind == "resnets" else f"middle_block.1.{rest}"
        if found := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", stem):
            return f"input_blocks.{(int(found[1]) + 1) * size}.0.op"
        if found := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv", stem):
            level = int(found[1])
            return f"output_blocks.{(level + 1) * size - 1}.{2 if level in attentive else 1}.conv"
        return _UNET_ENDS.get(stem)

    return original


def _vae(pipeline: StableDiffusionPipeline) -> Tensors:
    """The autoencoder, whose attention is of convolutions there and whose decoder counts its levels from the end."""
    last = len(pipeline.vae.config.up_block_types) - 1

    def original(stem: str) -> str | None:
        if found := re.fullmatch(
                r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(resnets|\w+samplers)\.(\d+)\.(.+)", stem):
            where, level, kind, layer, rest = found.groups()
            where = f"{where}.{level if where == 'encoder.down' else last - int(level)}"
            if kind == "resnets":
                return _joined(f"{where}.block.{layer}", _VAE_RESNET.get(rest))
            return f"{where}.{kind.removesuffix('rs')}.{rest}"
        if found := re.fullmatch(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.([01])\.(.+)", stem):
            half, kind, layer, rest = found.groups()
            if kind == "resnets":
                return _joined(f"{half}.mid.block_{int(layer) + 1}", _VAE_RESNET.get(rest))
            return _joined(f"{half}.mid.attn_1", _VAE_ATTENTION.get(rest))
        return _VAE_ENDS.get(stem)

    return {name: tensor[..., None, None] if ".attn_1." in name and tensor.ndim == 2 else tensor
            for name, tensor in _renamed(pipeline.vae.state_dict(), original).items()}


def _open_clip(text: Tensors) -> Tensors:
    """CLIP's text encoder by the names of OpenCLIP's, with one matrix for queries, keys and values."""
    tensors = {}
    for name, tensor in text.items():
        found = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if found is None:
            tensors[_OPEN_CLIP_ENDS[name]] = tensor
            continue
        layer, part, kind = found.groups()
        block = f"transformer.resblocks.{layer}"
        if part in _OPEN_CLIP_LAYER:
            tensors[f"{block}.{_OPEN_CLIP_LAYER[part]}.{kind}"] = tensor
        elif part == "self_attn.q_proj":
            three = [text[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            tensors[f"{block}.attn.in_proj_{kind}"] = torch.cat(three)
    return tensors


def _joined(where: str, name: str | None) -> str | None:
    return None if name is None else f"{where}.{name}"
