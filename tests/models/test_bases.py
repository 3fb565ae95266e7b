"""A base that cannot be used is refused within seconds, with the way out, and no pickle is ever read."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer
from transformers.utils.loading_report import LoadStateDictInfo, log_state_dict_report

from common.paths import TINY_DIR, TRAINING_DIR
from common.quiet import known_noise_off
from models import tiny
from models.hub import ModelError
from models.pipelines import load_pipeline, module_hash
from models.tiny import tiny_scheduler
from recogniser.vae_reconstruction import load_autoencoder
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


def without_tensor(part: Path, name: str) -> Path:
    """The same part, whose file lacks a tensor."""
    (path,) = part.glob("*.safetensors")
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    return part


@pytest.mark.parametrize(("part", "tensor"), [
    ("text_encoder", "embeddings.token_embedding.weight"), ("unet", "conv_in.bias"),
    ("vae", "decoder.conv_out.weight")])
def test_a_base_that_lacks_a_tensor_is_refused_by_its_name(part: str, tensor: str, copy: Path) -> None:
    without_tensor(copy / part, tensor)
    message = refusal(copy)
    assert f"{copy}: {part}" in message and tensor in message and "lack 1 of the tensors" in message


def test_nothing_is_drawn_with_a_text_encoder_that_is_not_whole(copy: Path, tmp_path: Path) -> None:
    without_tensor(copy / "text_encoder", "encoder.layers.0.layer_norm1.bias")
    command = [sys.executable, str(TRAINING_DIR / "generate.py"), "moon", "--model", str(copy), "--plan", "off",
               "--steps", "1", "--output", str(tmp_path / "pictures")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1 and "encoder.layers.0.layer_norm1.bias" in ended.stderr
    assert "Traceback" not in ended.stderr and not (tmp_path / "pictures").exists()


def test_an_embedded_base_or_an_autoencoder_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    for part in ("vae", "unet", "scheduler"):
        shutil.copytree(TINY_DIR / part, tmp_path / "tiny" / part)
    without_tensor(tmp_path / "tiny/vae", "encoder.conv_in.bias")
    assert "encoder.conv_in.bias" in refusal(tmp_path / "tiny")
    with pytest.raises(ModelError, match=r"encoder\.conv_in\.bias"):
        load_autoencoder(tmp_path / "tiny/vae")


@pytest.mark.parametrize(("missing", "is_seen"), [
    ({"pooler.dense.weight", "pooler.dense.bias"}, False),
    ({"pooler.dense.weight", "encoder.layer.0.output.dense.bias"}, True), ({"embeddings.pooler.weight"}, True)])
def test_transformers_report_is_hidden_where_it_is_of_the_unused_pooler_alone(missing: set[str],
                                                                            is_seen: bool) -> None:
    model = SimpleNamespace(__class__=type("BertModel", (), {}))
    info = LoadStateDictInfo(missing, set(), set(), [], {}, set())
    with known_noise_off():
        handler = next(one for one in transformers.utils.logging.get_logger().handlers if one.filters)
        seen = []
        log = SimpleNamespace(isEnabledFor=lambda level: False, warning=lambda text: seen.append(
            bool(handler.filter(logging.LogRecord("transformers", logging.WARNING, "", 0, text, (), None)))))
        log_state_dict_report(model, "folder", False, info, log)
    assert seen == [is_seen]


def test_a_base_without_a_tokenizer_or_with_anothers_is_refused(copy: Path) -> None:
    settings = copy / "tokenizer/tokenizer_config.json"
    content = json.loads(settings.read_text())
    settings.write_text(json.dumps({**content, "model_max_length": 10**30}))
    assert "text_encoder/ takes 77 tokens" in refusal(copy)
    settings.write_text(json.dumps(content))
    added = CLIPTokenizer.from_pretrained(copy / "tokenizer")
    added.add_tokens(["horse"])
    added.save_pretrained(copy / "tokenizer")
    assert "77 tokens and text_encoder/ knows 76" in refusal(copy)
    shutil.rmtree(copy / "tokenizer")
    assert "tokenizer/ is missing" in refusal(copy)


@pytest.mark.parametrize("size", [100000, 0, -1, "16"])
def test_a_base_whose_pictures_cannot_be_drawn_is_refused(size: object, copy: Path) -> None:
    config = copy / "unet/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": size}))
    assert f"sample_size {size} makes pictures of" in refusal(copy)


@pytest.mark.parametrize("entry", [None, "transformers", ["os", "system"], ["transformers", "pipeline"]])
def test_a_text_encoder_of_an_unknown_class_is_refused(entry: object, copy: Path) -> None:
    index = copy / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "text_encoder": entry}))
    assert "as its text_encoder" in refusal(copy)


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
