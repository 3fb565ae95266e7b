"""A run with --component_caption_fraction: what it saves is plain diffusers that knows components, and it is exact."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.stop_signals import StopSignals
from models.component_tokens import TABLE, component_names
from models.families import encode_prompts
from models.pipelines import load_pipeline
from trainer import base_recipe
from trainer.base_recipe import BaseConfig, phases
from trainer.config import TrainConfig
from trainer.loop import TrainingRun
from trainer.model_card import base_text
from training_fixtures import before, metrics, run_main, same_tensors, save_base, save_dataset, small_config

_PLAIN_DIFFUSERS = """
import json, pathlib, sys
assert not any(pathlib.Path(place, "trainer").exists() for place in sys.path), sys.path
import torch
from diffusers import StableDiffusionPipeline
pipeline = StableDiffusionPipeline.from_pretrained(sys.argv[1])
states = pipeline.encode_prompt(["say 言", "say 曰"], torch.device("cpu"), 1, False)[0]
image = pipeline("say 言, two 二", num_inference_steps=2, output_type="np").images[0]
print(json.dumps([pipeline.tokenizer.tokenize("say 言, two 二"), (states[0] - states[1]).norm().item(),
                  list(image.shape)]))
"""


@pytest.fixture(scope="module", params=["sd1", pytest.param("sd2", marks=pytest.mark.variant)])
def bench(request, tmp_path_factory: pytest.TempPathFactory, kanji: Path) -> Path:
    """A base and the kanji set with two components of one name: 人 and 二 go by "say", as 言 and 曰 do."""
    folder = tmp_path_factory.mktemp(request.param)
    save_base(folder / "base", request.param)
    renamed = str.maketrans({"人": "言", "口": "曰"})
    shutil.copytree(kanji / "train", folder / "data" / "train")
    metadata = folder / "data" / "train" / "metadata.jsonl"
    rows = metadata.read_text(encoding="utf8").translate(renamed)
    metadata.write_text(rows.replace("person", "say").replace("mouth", "say"), encoding="utf8")
    return folder


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{
        "max_train_steps": 8, "checkpointing_steps": 3, "cache_dir": bench / "cache",
        "component_caption_fraction": 0.7, "validation_prompts": ("say 言, two 二", "say 曰, two 二"), **changes})


def losses(config: TrainConfig) -> list[float]:
    return [line["loss"] for line in metrics(config.output_dir)]


def test_its_pipeline_is_plain_diffusers_that_tells_components_of_one_name_apart(bench: Path, tmp_path: Path) -> None:
    ended = run_main(config_of(bench, tmp_path / "run"), tmp_path / "log")
    assert ended.status == 0, ended.output
    pipeline = tmp_path / "run" / "pipeline"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    plain = subprocess.run([sys.executable, "-I", "-c", _PLAIN_DIFFUSERS, str(pipeline)], check=True, timeout=600,
                           capture_output=True, text=True, cwd=tmp_path,
                           env={**environment, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""})
    tokens, distance, shape = json.loads(plain.stdout.splitlines()[-1])
    assert tokens[3] == "言" and tokens[-1] == "二" and distance > 1.0 and shape == [32, 32, 3]
    assert "boat 舟, water 水" in (pipeline / "README.md").read_text(encoding="utf8")
    loaded = load_pipeline(str(pipeline))
    assert component_names(loaded.tokenizer) == {
        "⿰": "left right", "⿱": "above below", "二": "two", "十": "ten", "曰": "say", "言": "say"}

    # Trained further, with such captions or without, it keeps them; and it is the run's own encoder, not another's.
    further = config_of(bench, tmp_path / "further", pretrained_model_name_or_path=str(pipeline), max_train_steps=1,
                        component_caption_fraction=0.0)
    assert run_main(further, tmp_path / "log").status == 0
    again = load_pipeline(str(tmp_path / "further" / "pipeline"))
    prompts, cpu = ["say 言, ten 十"], torch.device("cpu")
    assert torch.equal(encode_prompts(again, prompts, cpu), encode_prompts(loaded, prompts, cpu))


def test_a_run_that_is_killed_and_resumed_equals_one_never_interrupted(bench: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole, killed = (config_of(bench, tmp_path / name, cache_dir=cache) for name in ("whole", "killed"))
    assert run_main(whole, tmp_path / "log").status == 0
    kill = before(TrainingRun, "train_step", 5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert run_main(killed, tmp_path / "log", kill).status == -signal.SIGKILL
    ended = run_main(replace(killed, cache_dir=tmp_path / "new cache"), tmp_path / "log")
    assert ended.status == 0 and "resuming" in ended.output, ended.output
    assert same_tensors(tmp_path / "killed/checkpoint-000008", tmp_path / "whole/checkpoint-000008")
    files = [path.relative_to(tmp_path / "whole/pipeline") for folder in ("text_encoder", "tokenizer", "unet")
             for path in (tmp_path / "whole/pipeline" / folder).iterdir()]
    assert len(files) >= 5
    for file in files:
        assert (tmp_path / "killed/pipeline" / file).read_bytes() == (tmp_path / "whole/pipeline" / file).read_bytes()
    other = run_main(replace(whole, component_caption_fraction=0.5, max_train_steps=9), tmp_path / "log")
    assert other.status == 1 and "--component_caption_fraction: was 0.7, is 0.5" in other.output

    plain = config_of(bench, tmp_path / "plain", cache_dir=cache, component_caption_fraction=0.0)
    assert run_main(plain, tmp_path / "log").status == 0
    assert losses(plain) != losses(whole)
    assert len(list(cache.glob("text-*"))) == 2, "an encoder with other tokens has a store of its own"


def test_a_set_without_components_is_refused_with_the_way_out(base: Path, tmp_path: Path) -> None:
    config = small_config(base, save_dataset(tmp_path / "data"), tmp_path / "run", component_caption_fraction=0.5)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 1 and "--component_caption_fraction 0.5: no row of" in ended.output, ended.output
    assert "leave it out" in ended.output and "Traceback" not in ended.output


def test_on_a_set_without_components_the_embedded_base_learns_words_alone(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unet_phase(config: BaseConfig, name: str, *_: object) -> Path:
        asked.append((name, getattr(config, name).component_caption_fraction))
        return tmp_path / name

    monkeypatch.setattr(base_recipe, "autoencoder_stage", lambda *_: tmp_path / "base")
    monkeypatch.setattr(base_recipe, "unet_phase", unet_phase)
    monkeypatch.setattr(base_recipe, "export", lambda _pipeline, config, names: base_text(phases(config, names)))
    config = BaseConfig(train_data_dir=save_dataset(tmp_path / "data"))
    card = base_recipe.train_base(config, StopSignals())
    assert asked == [("words", 0.0)] and "| words |" in card and "| reward |" not in card
    with pytest.raises(UserError, match=r"--start_from tiny: .*leave it out"):
        base_recipe.train_base(replace(config, start_from="tiny"), StopSignals())


def test_the_embedded_base_is_shipped_with_a_table_of_its_tokens(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", max_train_steps=1)
    assert run_main(config, tmp_path / "log").status == 0
    tiny = base_recipe.export(tmp_path / "run" / "pipeline", BaseConfig(output_dir=tmp_path))
    assert json.loads((tiny / TABLE).read_text(encoding="utf8")).keys() == set("⿰⿱二十曰言")
