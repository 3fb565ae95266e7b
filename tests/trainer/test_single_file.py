"""A model in one file of the original layout is, read back by diffusers, the same tensor for tensor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import export as export_command
from common.quiet import known_noise_off
from models.component_tokens import add_component_tokens
from models.original_layout import original_tensors
from models.pipelines import load_pipeline
from training_fixtures import run_main, save_base, save_dataset, small_config

with known_noise_off():
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

LEVELS = 4  # of Stable Diffusion 1.x's and 2.x's UNet and autoencoder
# From the published files of 1.4 and 2.1, so that not all rests on diffusers' reading.
PUBLISHED = (
    "model.diffusion_model.time_embed.2.weight", "model.diffusion_model.input_blocks.3.0.op.weight",
    "model.diffusion_model.input_blocks.4.0.skip_connection.weight",
    "model.diffusion_model.input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight",
    "model.diffusion_model.input_blocks.11.0.out_layers.3.bias", "model.diffusion_model.middle_block.1.proj_in.weight",
    "model.diffusion_model.middle_block.2.in_layers.0.weight", "model.diffusion_model.output_blocks.2.1.conv.weight",
    "model.diffusion_model.output_blocks.5.2.conv.bias", "model.diffusion_model.output_blocks.11.1.proj_out.weight",
    "model.diffusion_model.out.2.weight", "first_stage_model.encoder.down.2.downsample.conv.weight",
    "first_stage_model.encoder.mid.attn_1.q.weight", "first_stage_model.encoder.norm_out.weight",
    "first_stage_model.decoder.up.3.upsample.conv.weight", "first_stage_model.decoder.up.0.block.2.conv2.weight",
    "first_stage_model.decoder.mid.block_2.norm1.bias", "first_stage_model.post_quant_conv.weight")
PUBLISHED_TEXT = {
    "sd1": ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
            "cond_stage_model.transformer.text_model.encoder.layers.1.self_attn.q_proj.weight",
            "cond_stage_model.transformer.text_model.final_layer_norm.bias"),
    "sd2": ("cond_stage_model.model.token_embedding.weight", "cond_stage_model.model.positional_embedding",
            "cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight",
            "cond_stage_model.model.transformer.resblocks.1.attn.out_proj.bias",
            "cond_stage_model.model.transformer.resblocks.1.mlp.c_proj.weight", "cond_stage_model.model.ln_final.bias")}


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def published_shape(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A random pipeline with all blocks of Stable Diffusion 1.x or 2.x, narrow ones."""
    kind = request.param
    folder = save_base(tmp_path_factory.mktemp(kind) / kind, kind)
    pipeline = load_pipeline(str(folder))
    torch.manual_seed(1)
    pipeline.unet = UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64, 96, 96), layers_per_block=2, norm_num_groups=8,
        cross_attention_dim=pipeline.text_encoder.config.hidden_size, use_linear_projection=kind == "sd2",
        attention_head_dim=8 if kind == "sd1" else (2, 4, 6, 6))
    pipeline.vae = AutoencoderKL(
        block_out_channels=(8, 16, 32, 32), layers_per_block=2, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * LEVELS, up_block_types=("UpDecoderBlock2D",) * LEVELS)
    with known_noise_off():
        pipeline.save_pretrained(folder)
    return kind, folder


def exported(model: Path, path: Path, *flags: str) -> Path:
    assert export_command.main([str(model), "--output", str(path), *flags]) == 0
    return path


def read_back(path: Path, config: Path, dtype: torch.dtype = torch.float16) -> StableDiffusionPipeline:
    with known_noise_off():
        return StableDiffusionPipeline.from_single_file(
            str(path), config=str(config), local_files_only=True, torch_dtype=dtype)


def assert_same(one: StableDiffusionPipeline, other: StableDiffusionPipeline) -> None:
    for part in ("unet", "vae", "text_encoder"):
        first, second = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert first.keys() == second.keys()
        assert all(first[name].dtype == second[name].dtype and torch.equal(first[name], second[name])
                   for name in first), part


def header(path: Path) -> tuple[dict[str, str], set[str]]:
    with safe_open(path, "pt") as file:
        return file.metadata(), set(file.keys())


def test_a_file_read_back_is_the_model_tensor_for_tensor_in_fp16(
        published_shape: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = published_shape
    path = exported(folder, tmp_path / "new" / "model.safetensors")
    expected = load_pipeline(str(folder))
    assert_same(expected.to(torch.float16), read_back(path, folder))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    _, names = header(path)
    assert {*PUBLISHED, *PUBLISHED_TEXT[kind]} <= names
    count = {"model.diffusion_model": 686, "first_stage_model": 248}  # of the published files
    assert count == {part: sum(name.startswith(f"{part}.") for name in names) for part in count}


def test_fp32_loses_nothing(published_shape: tuple[str, Path], tmp_path: Path) -> None:
    _, folder = published_shape
    path = exported(folder, tmp_path / "model.safetensors", "--dtype", "fp32")
    assert_same(load_pipeline(str(folder)), read_back(path, folder, torch.float32))


@pytest.mark.parametrize(("kind", "rank"), [("sd1", None), ("sd2", 2)])
def test_a_run_is_exported_as_it_draws_and_its_headers_say_what_it_is(
        kind: str, rank: int | None, tmp_path: Path) -> None:
    save_base(tmp_path / "base", kind)
    config = small_config(tmp_path / "base", save_dataset(tmp_path / "data"), tmp_path / "my run", max_train_steps=1,
                          num_inference_steps=1, lora_rank=rank)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    path = exported(tmp_path / "my run", tmp_path / "model.safetensors")
    assert_same(load_pipeline(str(tmp_path / "my run/pipeline")).to(torch.float16),
                read_back(path, tmp_path / "my run/pipeline"))
    said, _ = header(path)
    assert said["modelspec.prediction_type"] == {"sd1": "epsilon", "sd2": "v"}[kind]
    assert said["modelspec.architecture"] == {"sd1": "stable-diffusion-v1", "sd2": "stable-diffusion-v2-768-v"}[kind]
    assert said["modelspec.resolution"] == "32x32" and said["modelspec.license"] == "other"
    assert not any(str(tmp_path) in value for value in said.values())
    if rank is not None:
        said, _ = header(tmp_path / "my run/lora/kohya_lora.safetensors")
        assert said["ss_base_model_version"] == "sd_v2_v" and said["ss_v2"] == "True"
        assert said["ss_network_module"] == "networks.lora" and said["ss_output_name"] == "my run"
        assert said["ss_network_dim"] == said["ss_network_alpha"] == "2"
        assert said["ss_total_batch_size"] == "4" and said["ss_sd_model_name"] == "base"
        assert not any(str(tmp_path) in value for value in said.values())


def test_tokens_of_components_are_left_out_and_that_is_said(
        base: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pipeline = load_pipeline(str(base))
    before = original_tensors(pipeline)
    add_component_tokens(pipeline, {"舟": "boat", "水": "water"})
    with known_noise_off():
        pipeline.save_pretrained(tmp_path / "tokens")
    path = exported(tmp_path / "tokens", tmp_path / "model.safetensors", "--dtype", "fp32")
    assert "Its 2 tokens of components are left out" in capsys.readouterr().out
    with safe_open(path, "pt") as file:
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in before.items())


@pytest.mark.parametrize(("output", "said"), [
    ("model.safetensors", r"tiny: .*Stable Diffusion 1\.x and 2\.x alone: its text encoder is a BertModel"),
    ("model.ckpt", r"name it .*model\.safetensors")])
def test_what_has_no_place_in_such_a_file_is_refused_and_nothing_is_written(
        output: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert export_command.main(["tiny", "--output", str(tmp_path / "new" / output)]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert not any(tmp_path.iterdir())


def test_an_unknown_tensor_is_refused_by_name(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pipeline = load_pipeline(str(base))
    config = {**pipeline.unet.config, "class_embed_type": "timestep"}
    pipeline.unet = UNet2DConditionModel.from_config(config)
    with known_noise_off():
        pipeline.save_pretrained(tmp_path / "other")
    assert export_command.main([str(tmp_path / "other"), "--output", str(tmp_path / "model.safetensors")]) == 1
    assert "it has class_embedding.linear_1.weight, for which the layout" in capsys.readouterr().err
    assert not (tmp_path / "model.safetensors").exists()
