"""Components have tokens of their own: in any base, told apart, saved with it, and words mean what they meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from models.component_tokens import TABLE, add_component_tokens, component_names, component_tokens, save_table
from models.families import encode_prompts
from models.hub import ModelError
from models.parts import refuse_unusable
from models.pipelines import load_pipeline, module_hash
from models.tiny import new_unet, new_vae, tiny_scheduler
from training_fixtures import save_base

NAMES = {"曰": "say", "水": "water", "舟": "boat", "言": "say"}
WORDS = ["say", "boat water, 9 strokes", ""]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random bases of the shapes of Stable Diffusion 1 and 2 and of the embedded one, which lacks a text encoder."""
    folder = tmp_path_factory.mktemp("bases")
    for kind in ("sd1", "sd2"):
        save_base(folder / kind, kind)
    torch.manual_seed(0)
    new_vae().save_pretrained(folder / "tiny" / "vae")
    new_unet().save_pretrained(folder / "tiny" / "unet")
    tiny_scheduler().save_pretrained(folder / "tiny" / "scheduler")
    return folder


def encoded(pipeline, *prompts: str) -> torch.Tensor:
    return encode_prompts(pipeline, prompts, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["sd1", "sd2", "tiny"])
def test_components_of_one_name_are_told_apart_and_words_alone_mean_what_they_meant(kind: str, bases: Path) -> None:
    pipeline = load_pipeline(str(bases / kind))
    before, state = encoded(pipeline, *WORDS), torch.get_rng_state()
    assert not component_tokens(pipeline.tokenizer), "MiniLM's vocabulary has 水, and no base was trained on it"
    add_component_tokens(pipeline, NAMES)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(encoded(pipeline, *WORDS), before)
    assert component_tokens(pipeline.tokenizer) == NAMES.keys() and component_names(pipeline.tokenizer) == NAMES
    one, other = encoded(pipeline, "say 言", "say 曰")
    assert not torch.allclose(one, other, atol=0.1)
    assert len({pipeline.tokenizer(form)["input_ids"][1] for form in NAMES}) == 4
    assert pipeline.tokenizer.tokenize("boat 舟,水")[-3:-2] == ["舟"], "also where no space parts them"
    refuse_unusable(kind, pipeline)


@pytest.mark.parametrize("kind", ["sd1", "sd2", "tiny"])
def test_a_saved_pipeline_has_them_and_gets_only_those_that_it_lacks(kind: str, bases: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(str(bases / kind))
    add_component_tokens(pipeline, NAMES)
    pipeline.save_pretrained(tmp_path / "saved")
    again = load_pipeline(str(tmp_path / "saved"))
    assert component_names(again.tokenizer) == NAMES
    asked = "boat 舟, water 水, 9 strokes"
    assert torch.equal(encoded(again, asked), encoded(pipeline, asked))
    add_component_tokens(again, {"水": "another name"})
    assert module_hash(again.text_encoder) == module_hash(pipeline.text_encoder)
    add_component_tokens(again, {"一": "one", "水": "another name"})
    assert component_names(again.tokenizer) == {**NAMES, "一": "one"}
    assert torch.equal(encoded(again, asked), encoded(pipeline, asked))
    fewer = load_pipeline(str(bases / kind))
    add_component_tokens(fewer, {"舟": "boat"})
    assert torch.equal(encoded(fewer, "boat 舟"), encoded(pipeline, "boat 舟")), "whatever else has a token"
    add_component_tokens(fewer, {"亠": "\u200b"})
    assert encoded(fewer, "亠").isfinite().all(), "also of a name in which the tokenizer sees nothing"


def test_a_folder_without_a_text_encoder_keeps_a_table_of_names(bases: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(str(bases / "tiny"))
    save_table(pipeline.tokenizer, tmp_path)
    assert not (tmp_path / TABLE).exists()
    add_component_tokens(pipeline, {"舟": "boat"})
    add_component_tokens(pipeline, {"一": "one", "水": "water"})
    shutil.copytree(bases / "tiny", tmp_path / "tiny")
    save_table(pipeline.tokenizer, tmp_path / "tiny")
    again = load_pipeline(str(tmp_path / "tiny"))
    assert component_names(again.tokenizer) == component_names(pipeline.tokenizer)
    assert module_hash(again.text_encoder) == module_hash(pipeline.text_encoder)
    assert torch.equal(encoded(again, "boat 舟, water 水"), encoded(pipeline, "boat 舟, water 水"))


TABLES = ["{", "[]", '{"舟舟": "boat"}', '{"a": "letter"}', '{"舟": 3}', '{"舟": " "}', '"舟"']


@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_table_is_named(table: str, bases: Path, tmp_path: Path) -> None:
    shutil.copytree(bases / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / TABLE).write_text(table)
    with pytest.raises(ModelError, match=TABLE):
        load_pipeline(str(tmp_path / "tiny"))
