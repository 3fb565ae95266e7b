"""The way of a run's result and of its dataset to the model hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError, first_line
from trainer import model_card
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from huggingface_hub import HfApi

METHODS = ("whoami", "create_repo", "auth_check", "create_commit", "upload_folder")  # what is used of HfApi


class PublishError(UserError):
    """The hub cannot be written to; the message says why and what to do. The run's result lies in its folder."""


def check(config: TrainConfig) -> None:
    """Before anything is trained: whether what is to be pushed could be. Raises PublishError.

    The only sure way to know is to make the repositories and to ask for leave to write into them, so that is done now.
    """
    if not (config.push_to_hub or config.push_dataset):
        return
    import huggingface_hub

    if lacking := [name for name in METHODS if not hasattr(huggingface_hub.HfApi, name)]:
        raise PublishError(f"huggingface_hub {huggingface_hub.__version__} has no {', '.join(lacking)}: install the "
                           "version that requirements.txt names; or leave the flag out and push later.")
    if huggingface_hub.get_token() is None:
        raise PublishError("--push_to_hub and --push_dataset need a hub token: log in with `hf auth login`, or set "
                           "HF_TOKEN; or leave the flag out and push later with the same command.")
    try:
        _ask_leave(huggingface_hub.HfApi(), config)
    except PublishError:
        raise
    except Exception as error:  # no route, no name, a proxy's refusal: each client names them its way
        raise PublishError(f"the hub cannot be reached ({type(error).__name__}); leave --push_to_hub and "
                           "--push_dataset out and push later with the same command.") from None


def push(config: TrainConfig, card_metadata: dict[str, Any]) -> None:
    """Send what the settings ask for: the run's result in one commit, the dataset folder with its card.

    card_metadata: see model_card.text; the card that is sent loads the pipeline from its repository. Settings and
    command line stay here: the card tells what others need, and has no paths of this machine. Raises PublishError where
    the hub refuses; the same command tries again.
    """
    if not (config.push_to_hub or config.push_dataset):
        return
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        for name, kind in wanted_repositories(config):
            repo = _make_repository(api, name, kind)
            if kind == "model":
                _send_result(api, repo, config, card_metadata)
            else:
                api.upload_folder(repo_id=repo, folder_path=config.train_data_dir, repo_type=kind,
                                  commit_message="Captioned images")
                print(f"dataset:  {api.endpoint}/datasets/{repo}")
    except Exception as error:
        raise PublishError(f"the hub did not take it ({first_line(error)}). The result lies in {config.output_dir}; "
                           "the same command tries again.") from error


def wanted_repositories(config: TrainConfig) -> list[tuple[str, str]]:
    """Names and kinds, `model` or `dataset`, of the repositories that the settings ask to push to."""
    name = config.hub_model_id or config.output_dir.resolve().name
    return [*([(name, "model")] if config.push_to_hub else []),
            *([(f"{name}-dataset", "dataset")] if config.push_dataset else [])]


def result_files(config: TrainConfig) -> list[tuple[str, Path]]:
    """What is pushed of a run, by its path in the repository, which is itself a pipeline folder."""
    run = config.output_dir
    roots = [(run / "pipeline", ""), (run / "samples", "samples/"), (run / "lora", "lora/")]
    files = [(prefix + path.relative_to(root).as_posix(), path)
             for root, prefix in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return [*files, ("metrics.jsonl", run / "metrics.jsonl")]


def _ask_leave(api: HfApi, config: TrainConfig) -> None:
    """Make the repositories where they are not there. Raises PublishError where one may not be written to."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        api.whoami()
    except HfHubHTTPError as error:
        raise PublishError(f"the hub refuses the token ({first_line(error)}): log in anew with `hf auth login`, or "
                           "mend HF_TOKEN.") from None
    for name, kind in wanted_repositories(config):
        try:
            api.auth_check(_make_repository(api, name, kind), repo_type=kind, write=True)
        except HFValidationError as error:
            raise PublishError(f"{name!r} is no name for a repository ({first_line(error)}): name one with "
                               "--hub_model_id.") from None
        except HfHubHTTPError as error:
            raise PublishError(f"the hub does not let this token write to {name} ({first_line(error)}): use a token "
                               "with leave to write, or name another repository with --hub_model_id.") from None


def _make_repository(api: HfApi, name: str, kind: str) -> str:
    """Make a repository where there is none; returns its id with the namespace."""
    return api.create_repo(name, repo_type=kind, exist_ok=True).repo_id


def _send_result(api: HfApi, repo: str, config: TrainConfig, card_metadata: dict[str, Any]) -> None:
    """Send the run's result in one commit, with a card whose snippets load it from there."""
    from huggingface_hub import CommitOperationAdd

    files, card = result_files(config), model_card.text(config, card_metadata, repo)
    if model_card.MINILM_LICENSE_FILE in dict(files):
        card = model_card.with_minilm(card)
    files = [CommitOperationAdd(name, card.encode() if name == "README.md" else str(path)) for name, path in files]
    print(f"model:    {api.create_commit(repo, files, commit_message='Trained pipeline').repo_url}")
