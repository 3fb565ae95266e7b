"""A base that cannot be used is refused within seconds, with the way out, and no pickle is ever read."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from models import tiny
from models.hub import ModelError
from models.pipelines import load_pipeline, module_hash
from models.tiny import tiny_scheduler
from training_fixtures import save_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("bases") / "base")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(base, tmp_path / "copy")


def refusal(name: object) -> str:
    with pytest.raises(ModelError) as caught:
        load_pipeline(str(name))
    return str(caught.value)


def test_a_pipeline_folder_loads_in_fp32_on_the_cpu_without_a_safety_checker(base: Path) -> None:
    pipeline = load_pipeline(str(base))
    assert {weight.dtype for weight in pipeline.unet.parameters()} == {torch.float32}
    assert pipeline.device.type == "cpu"
    assert pipeline.safety_checker is None


class _Trap:
    def __reduce__(self) -> tuple:
        return pytest.fail, ("a pickle was read",)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_base_of_pickles_is_refused_with_the_way_out_and_not_read(part: str, copy: Path) -> None:
    for weights in (copy / part).glob("*.safetensors"):
        weights.unlink()
    (copy / part / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(_Trap()))
    (copy / part / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap()))
    message = refusal(copy)
    assert part in message
    assert "no safetensors weights, only pickles" in message
    assert "save_pretrained" in message


def test_what_is_no_stable_diffusion_pipeline_is_refused(copy: Path, tmp_path: Path) -> None:
    index = copy / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "StableDiffusionXLPipeline"}))
    assert "a StableDiffusionXLPipeline, where a StableDiffusionPipeline" in refusal(copy)
    index.write_text("{")
    assert "cannot be read" in refusal(copy)
    index.unlink()
    assert "no model_index.json" in refusal(copy)
    (tmp_path / "file").write_text("")
    assert "no such pipeline folder" in refusal(tmp_path / "file")
    assert "no such pipeline folder" in refusal("./nowhere")
    assert "no such pipeline folder" in refusal("just-a-word")


def test_a_damaged_base_is_refused_without_a_traceback(copy: Path) -> None:
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "is no whole Stable Diffusion 1.x or 2.x pipeline" in refusal(copy)
    weights.unlink()
    assert "unet has no weights" in refusal(copy)


def test_a_hub_that_cannot_be_reached_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    class Unreachable:
        def model_info(self, *_: object, **__: object) -> None:
            raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "HfApi", Unreachable)
    message = refusal("nobody/no-such-base-as-this")
    assert "cannot be reached" in message
    assert "./launch_training.sh tiny" in message


def test_the_embedded_bases_form_is_put_together_with_minilm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoencoderKL(in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(16, 32), norm_num_groups=8,
                  down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                  ).save_pretrained(tmp_path / "vae")
    UNet2DConditionModel(sample_size=16, layers_per_block=1, block_out_channels=(32, 64), norm_num_groups=8,
                         down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=4,
                         up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=tiny.MINILM_WIDTH,
                         ).save_pretrained(tmp_path / "unet")
    tiny_scheduler().save_pretrained(tmp_path / "scheduler")
    pipeline = load_pipeline(str(tmp_path))
    assert pipeline.text_encoder.config.use_attention_mask
    states = pipeline.encode_prompt(["moon", "a very long caption " * 9], torch.device("cpu"), 1, False)[0]
    assert states.shape == (2, tiny.MINILM_TOKENS, tiny.MINILM_WIDTH)
    pipeline.save_pretrained(tmp_path / "saved")
    again = load_pipeline(str(tmp_path / "saved"))
    assert torch.equal(again.encode_prompt(["moon"], torch.device("cpu"), 1, False)[0], states[:1])
    assert module_hash(again.text_encoder) == module_hash(pipeline.text_encoder), "what the cache is keyed by"
    shutil.rmtree(tmp_path / "unet")
    assert "model_index.json" in refusal(tmp_path)


def test_minilm_of_other_weights_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="These are other weights"):
        tiny.minilm_folder()


def test_a_modules_hash_follows_its_weights_and_names() -> None:
    one, other = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    assert module_hash(one) != module_hash(other)
    other.load_state_dict(one.state_dict())
    assert module_hash(one) == module_hash(other)
    assert module_hash(torch.nn.Sequential(one)) != module_hash(one)
