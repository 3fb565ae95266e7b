"""The way of a run's result and of its dataset to the model hub."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError, first_line
from trainer.config import TrainConfig


class PublishError(UserError):
    """The hub cannot be written to; the message says why and what to do. The run's result lies in its folder."""


def check(config: TrainConfig) -> None:
    """Before anything is trained: whether what is to be pushed could be. Raises PublishError."""
    if not (config.push_to_hub or config.push_dataset):
        return
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if get_token() is None:
        raise PublishError("--push_to_hub and --push_dataset need a hub token: log in with `hf auth login`, or set "
                           "HF_TOKEN; or leave the flag out and push later with the same command.")
    try:
        HfApi().whoami()
    except HfHubHTTPError as error:
        raise PublishError(f"the hub refuses the token ({first_line(error)}): log in anew with `hf auth login`, or "
                           "mend HF_TOKEN.") from None
    except Exception as error:  # no route, no name, a proxy's refusal: each client names them its way
        raise PublishError(f"the hub cannot be reached ({type(error).__name__}); leave --push_to_hub and "
                           "--push_dataset out and push later with the same command.") from None


def push(config: TrainConfig) -> None:
    """Send what the settings ask for: the run's result in one commit, the dataset folder with its card.

    Raises PublishError where the hub refuses; the same command tries again. Settings and command line stay here: the
    card tells what others need, and has no paths of this machine.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api, name = HfApi(), config.hub_model_id or config.output_dir.resolve().name
    try:
        if config.push_to_hub:
            repo = api.create_repo(name, exist_ok=True).repo_id
            files = [CommitOperationAdd(path_in_repo, str(path)) for path_in_repo, path in result_files(config)]
            print(f"model:    {api.create_commit(repo, files, commit_message='Trained pipeline').repo_url}")
        if config.push_dataset:
            repo = api.create_repo(f"{name}-dataset", repo_type="dataset", exist_ok=True).repo_id
            api.upload_large_folder(repo, config.train_data_dir, repo_type="dataset", print_report=False)
            print(f"dataset:  {api.endpoint}/datasets/{repo}")
    except Exception as error:
        raise PublishError(f"the hub did not take it ({first_line(error)}). The result lies in {config.output_dir}; "
                           "the same command tries again.") from error


def result_files(config: TrainConfig) -> list[tuple[str, Path]]:
    """What is pushed of a run, by its path in the repository, which is itself a pipeline folder."""
    run = config.output_dir
    roots = [(run / "pipeline", ""), (run / "samples", "samples/"), (run / "lora", "lora/")]
    files = [(prefix + path.relative_to(root).as_posix(), path)
             for root, prefix in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return [*files, ("metrics.jsonl", run / "metrics.jsonl")]
