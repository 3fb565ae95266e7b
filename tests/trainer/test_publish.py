"""What is sent to the hub is complete, holds no token, and its refusal is said before anything is trained."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError

from trainer import hub
from trainer.config import TrainConfig
from trainer.hub import PublishError
from training_fixtures import run_main, save_base, save_dataset, small_config

TOKEN = "hf_" + hashlib.sha256(b"not a real token").hexdigest()[:34]


class FakeHub:
    """Stands for HfApi: notes what it is asked to send."""

    endpoint = "https://hub.example"

    def __init__(self) -> None:
        self.repositories: list[tuple[str, str | None]] = []
        self.sent: dict[str, bytes] = {}
        self.folders: list[tuple[str, Path]] = []

    def whoami(self) -> dict[str, str]:
        return {"name": "someone"}

    def create_repo(self, name: str, repo_type: str | None = None, exist_ok: bool = False) -> SimpleNamespace:
        assert exist_ok, "the same command again is welcome"
        self.repositories.append((name, repo_type))
        return SimpleNamespace(repo_id=f"someone/{name}")

    def create_commit(self, repo_id: str, operations: list, commit_message: str) -> SimpleNamespace:
        for operation in operations:
            with operation.as_file() as file:
                self.sent[operation.path_in_repo] = file.read()
        return SimpleNamespace(repo_url=f"{self.endpoint}/{repo_id}")

    def upload_large_folder(self, repo_id: str, folder: Path, repo_type: str, print_report: bool) -> None:
        assert repo_type == "dataset"
        self.folders.append((repo_id, folder))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("publish")
    save_base(folder / "base")
    save_dataset(folder / "data")
    config = small_config(folder / "base", folder / "data", folder / "my kanji", lora_rank=2)
    ended = run_main(config, folder / "log")
    assert ended.status == 0, ended.output
    return config


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return fake


def test_pipeline_card_grid_and_metrics_are_sent_in_one_commit_without_a_token(
        finished: TrainConfig, fake_hub: FakeHub, capsys: pytest.CaptureFixture) -> None:
    hub.push(replace(finished, push_to_hub=True, hub_model_id="new-kanji"))
    assert fake_hub.repositories == [("new-kanji", None)]
    assert {"model_index.json", "README.md", "samples.png", "metrics.jsonl", "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json",
            "samples/step-000006.png", "lora/pytorch_lora_weights.safetensors", "lora/kohya_lora.safetensors",
            } <= fake_hub.sent.keys()
    home = str(finished.output_dir.parent).encode()
    for name, content in fake_hub.sent.items():
        assert TOKEN.encode() not in content
        assert home not in content, f"{name} tells a path of this machine"
    assert "https://hub.example/someone/new-kanji" in capsys.readouterr().out


def test_the_dataset_is_sent_as_it_lies_with_its_card(finished: TrainConfig, fake_hub: FakeHub) -> None:
    hub.push(replace(finished, push_dataset=True, hub_model_id="someone/new-kanji"))
    assert fake_hub.repositories == [("someone/new-kanji-dataset", "dataset")]
    assert fake_hub.folders == [("someone/someone/new-kanji-dataset", finished.train_data_dir)]
    assert fake_hub.sent == {}


def test_nothing_is_sent_unasked(finished: TrainConfig, fake_hub: FakeHub) -> None:
    hub.check(finished)
    hub.push(finished)
    assert fake_hub.repositories == []


def test_without_a_token_the_run_does_not_begin(tmp_path: Path) -> None:
    config = small_config(tmp_path / "none", tmp_path / "none", tmp_path / "run", push_to_hub=True)

    def lay() -> None:
        huggingface_hub.get_token = lambda: None

    ended = run_main(config, tmp_path / "log", lay)
    assert ended.status == 1
    assert "hf auth login" in ended.output
    assert "Traceback" not in ended.output


def test_a_hub_out_of_reach_or_a_token_refused_is_said(finished: TrainConfig, fake_hub: FakeHub) -> None:
    config = replace(finished, push_to_hub=True)

    def out_of_reach() -> None:
        raise ConnectionError("no route")

    def refuse() -> None:
        raise HfHubHTTPError("401 Client Error", response=SimpleNamespace(headers={}, status_code=401, request=None))

    fake_hub.whoami = out_of_reach
    with pytest.raises(PublishError, match="cannot be reached"):
        hub.check(config)
    fake_hub.whoami = refuse
    with pytest.raises(PublishError, match="refuses the token"):
        hub.check(config)


def test_a_push_that_fails_leaves_the_result_and_is_tried_again(finished: TrainConfig, tmp_path: Path) -> None:
    """The run counts as complete only when all that was asked for is done."""
    config = replace(finished, push_to_hub=True)
    (finished.output_dir / "finished.json").unlink(missing_ok=True)

    def lay(works: bool) -> None:
        fake = FakeHub()
        huggingface_hub.HfApi = lambda: fake
        huggingface_hub.get_token = lambda: TOKEN
        if not works:
            fake.create_repo = lambda *_, **__: exec("raise ConnectionError('the line is down')")

    ended = run_main(config, tmp_path / "log", lambda: lay(works=False))
    assert ended.status == 1
    assert "the line is down" in ended.output
    assert (finished.output_dir / "pipeline/model_index.json").exists()
    ended = run_main(config, tmp_path / "log", lambda: lay(works=True))
    assert ended.status == 0, ended.output
    assert "model:    https://hub.example" in ended.output
    assert TOKEN not in ended.output
    assert "is complete" in run_main(config, tmp_path / "log").output
