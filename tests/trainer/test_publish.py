"""What is sent to the hub is complete, holds no token, and its refusal is said before anything is trained.

The client is huggingface_hub's own; the hub that it talks to is tests/hub_server.py.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from hub_server import HubServer, serving
from models.tiny import MINILM_LICENSE
from recogniser_fixtures import save_kanji_set
from snippet_fixtures import python_blocks
from trainer import hub
from trainer.config import TrainConfig
from trainer.hub import PublishError
from training_fixtures import run_main, save_base, save_dataset, small_config

TOKEN = "hf_" + hashlib.sha256(b"not a real token").hexdigest()[:34]
METADATA = {"kanji": False, "processes": 1, "samples_per_update": 64, "dataset_sha256": "0" * 64}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("publish")
    save_base(folder / "base")
    save_dataset(folder / "data")
    (folder / "data" / "README.md").write_text("---\nlicense: other\n---\n\n# Letters\n")
    (folder / "pairs.jsonl").write_text('{"text": "none of the captions"}\n')
    config = small_config(folder / "base", folder / "data", folder / "my kanji", lora_rank=2,
                          held_out_prompts=folder / "pairs.jsonl")
    ended = run_main(config, folder / "log")
    assert ended.status == 0, ended.output
    return config


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that the client knows as the only one, reached without any proxy; files are large where they are in life.

    Large files go by LFS here: the hub's newer storage, Xet, has a server of its own.
    """
    with serving(HubServer(TOKEN)) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        huggingface_hub.close_session()
        yield server
    huggingface_hub.close_session()


def test_pipeline_card_grid_and_metrics_are_sent_in_one_commit_without_a_token_or_a_path(
        finished: TrainConfig, server: HubServer, capsys: pytest.CaptureFixture) -> None:
    hub.push(replace(finished, push_to_hub=True, hub_model_id="new-kanji"), METADATA)
    assert server.commits == [("someone/new-kanji", "Trained pipeline")]
    sent = server.repositories["someone/new-kanji"]
    assert {"model_index.json", "README.md", "samples.png", "metrics.jsonl", "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json",
            "samples/step-000006.png", "lora/pytorch_lora_weights.safetensors", "lora/kohya_lora.safetensors",
            } <= sent.keys()
    weights = Path("unet/diffusion_pytorch_model.safetensors")
    assert sent[str(weights)] == (finished.output_dir / "pipeline" / weights).read_bytes()
    home = str(finished.output_dir.parent).encode()
    for name, content in sent.items():
        assert TOKEN.encode() not in content
        assert home not in content, f"{name} tells a path of this machine"
    assert f"{server.endpoint}/someone/new-kanji" in capsys.readouterr().out


def test_the_card_that_is_sent_loads_from_its_repository_and_the_one_that_stays_from_its_folder(
        finished: TrainConfig, server: HubServer) -> None:
    hub.push(replace(finished, push_to_hub=True, hub_model_id="new-kanji"), METADATA)
    sent = server.repositories["someone/new-kanji"]["README.md"].decode()
    local = (finished.output_dir / "pipeline" / "README.md").read_text(encoding="utf8")
    for card, location in ((sent, "someone/new-kanji"), (local, "my kanji/pipeline")):
        snippets = python_blocks(card)
        assert len(snippets) == 2
        assert all(re.findall(r'from_pretrained\("(.*?)"\)', snippet) == [location] for snippet in snippets)
        assert "FOLDER" not in card
    assert "--model someone/new-kanji" in sent and "--model 'my kanji'" in local
    settings = json.loads(re.search(r"```json\n(.*?)```", sent, re.DOTALL)[1])
    assert settings["lora_rank"] == 2 and settings["dataset_sha256"] == METADATA["dataset_sha256"]
    assert not any(name.endswith(("_dir", "_path")) or name in ("held_out_prompts", "reward_model")
                   for name in settings)


def test_the_licence_of_minilm_goes_with_it_and_is_named_in_the_card_that_is_sent(
        finished: TrainConfig, server: HubServer, tmp_path: Path) -> None:
    run = shutil.copytree(finished.output_dir, tmp_path / "run")
    shutil.copy(MINILM_LICENSE, run / "pipeline" / "text_encoder" / "LICENSE")
    hub.push(replace(finished, output_dir=run, push_to_hub=True, hub_model_id="new-kanji"), METADATA)
    sent = server.repositories["someone/new-kanji"]
    assert sent["text_encoder/LICENSE"] == MINILM_LICENSE.read_bytes()
    assert "all-MiniLM-L6-v2" in sent["README.md"].decode()


def test_only_what_was_trained_on_kanji_is_tagged_so(finished: TrainConfig, tmp_path: Path) -> None:
    letters = (finished.output_dir / "pipeline" / "README.md").read_text(encoding="utf8")
    assert "- kanji\n" not in letters and "Japanese" not in letters
    data = save_kanji_set(tmp_path / "kanji")
    ended = run_main(small_config(Path(finished.pretrained_model_name_or_path), data, tmp_path / "run",
                                  max_train_steps=1), tmp_path / "log")
    assert ended.status == 0, ended.output
    assert "- kanji\n" in (tmp_path / "run/pipeline/README.md").read_text(encoding="utf8")


@pytest.mark.parametrize("large_files", [True, False])
def test_the_dataset_is_sent_as_it_lies_with_its_card(
        large_files: bool, finished: TrainConfig, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one commit by LFS, or, where Xet is not turned off, in the client's stream of commits."""
    server.large_files = large_files
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", large_files)
    config = replace(finished, push_dataset=True, hub_model_id="someone/new-kanji")
    hub.check(config)
    hub.push(config, METADATA)
    folder = finished.train_data_dir
    assert list(server.repositories) == ["datasets/someone/new-kanji-dataset"]
    assert server.repositories["datasets/someone/new-kanji-dataset"] == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_sent_unasked(finished: TrainConfig, server: HubServer) -> None:
    hub.check(finished)
    hub.push(finished, METADATA)
    assert server.repositories == {}


def test_without_a_token_the_run_does_not_begin(
        tmp_path: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    config = small_config(tmp_path / "none", tmp_path / "none", tmp_path / "run", push_to_hub=True)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 1
    assert "hf auth login" in ended.output
    assert "Traceback" not in ended.output


@pytest.mark.parametrize(("flag", "harm", "words"), [
    ("push_to_hub", "no hub", "cannot be reached"), ("push_to_hub", "other token", "refuses the token"),
    ("push_to_hub", "other namespace", "does not let this token write to nobody/new-kanji"),
    ("push_dataset", "may only read", "does not let this token write to new-kanji-dataset"),
    ("push_to_hub", "there, may only read", "does not let this token write to new-kanji"),
    ("push_to_hub", "no name", "'my kanji' is no name for a repository"),
    ("push_dataset", "another client", "has no upload_folder")])
def test_a_push_that_cannot_work_is_said_before_anything_is_trained(
        flag: str, harm: str, words: str, finished: TrainConfig, server: HubServer, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    name = {"other namespace": "nobody/new-kanji", "no name": None}.get(harm, "new-kanji")
    server.read_only = harm.endswith("may only read")
    if harm == "no hub":
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    if harm == "other token":
        monkeypatch.setenv("HF_TOKEN", TOKEN[::-1])
    if harm == "there, may only read":
        server.repositories["someone/new-kanji"] = {}
    if harm == "another client":
        monkeypatch.delattr(huggingface_hub.HfApi, "upload_folder")
    config = replace(finished, **{flag: True}, hub_model_id=name)
    with pytest.raises(PublishError, match=words):
        hub.check(config)
    assert server.commits == []
    if harm == "other namespace":
        ended = run_main(replace(config, output_dir=tmp_path / "run"), tmp_path / "log")
        assert ended.status == 1 and words in ended.output
        assert not (tmp_path / "run" / "config.json").exists(), "nothing was begun"
        assert "Traceback" not in ended.output


def test_a_push_that_fails_leaves_the_result_and_is_tried_again(
        finished: TrainConfig, server: HubServer, tmp_path: Path) -> None:
    """The run counts as complete only when all that was asked for is done."""
    config = replace(finished, push_to_hub=True, push_dataset=True, hub_model_id="new-kanji")
    (finished.output_dir / "finished.json").unlink(missing_ok=True)
    server.refuses_commits = True
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 1
    assert "the hub did not take it" in ended.output and "The storage is full" in ended.output
    assert (finished.output_dir / "pipeline/model_index.json").exists()
    server.refuses_commits = False
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    assert f"model:    {server.endpoint}/someone/new-kanji" in ended.output
    assert f"dataset:  {server.endpoint}/datasets/someone/new-kanji-dataset" in ended.output
    assert {name for name, _ in server.commits} == {"someone/new-kanji", "datasets/someone/new-kanji-dataset"}
    assert TOKEN not in ended.output
    assert "is complete" in run_main(config, tmp_path / "log").output
