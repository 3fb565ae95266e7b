"""The model hub: what is cached, what it answers, and what is downloaded: safetensors only, never pickles."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError, first_line

HUB_TIMEOUT_S = 5.0  # a hub that does not answer by then counts as out of reach


class ModelError(UserError):
    """A base model that cannot be had or used; the message says why and what to do."""


def is_available(name_or_path: str, revision: str | None = None) -> tuple[bool, str]:
    """Whether a base could be loaded now, and why (not), in words; asks the hub for HUB_TIMEOUT_S at most."""
    if name_or_path == "tiny" or Path(name_or_path).is_dir():
        return True, "it lies on this machine"
    try:
        hub_snapshot(name_or_path, revision, download=False)
    except ModelError as error:
        return False, str(error)
    return True, "it is cached, or the hub answers"


def hub_snapshot(repo: str, revision: str | None, download: bool = True) -> Path:
    """The folder of a cached or downloaded hub pipeline; weights as safetensors only, never pickles."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    request = {"repo_id": repo, "revision": revision, "allow_patterns": ["*.json", "*.txt", "*.safetensors"],
               "ignore_patterns": ["*.non_ema*", "*.fp16.*", "safety_checker/*", "*/flax*", "v1-*", "*pruned*"]}
    try:
        folder = Path(snapshot_download(**request, local_files_only=True))
        if (folder / "model_index.json").exists() and any(folder.glob("unet/*.safetensors")):
            return folder
    except LocalEntryNotFoundError:
        pass
    ways_out = ("Check the name and the network (or HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN), name a folder with "
                "--pretrained_model_name_or_path, or train the embedded base, which needs no hub: "
                "./launch_training.sh tiny")
    try:
        info = HfApi().model_info(repo, revision=revision, timeout=HUB_TIMEOUT_S)
        names = {file.rfilename for file in info.siblings or []}
    except HfHubHTTPError as error:
        raise ModelError(f"{repo}: the hub refuses it ({first_line(error)}). {ways_out}") from error
    except Exception as error:  # no route, no name, a proxy's refusal, offline mode: each client names them its way
        raise ModelError(f"{repo}: not in the cache, and the model hub cannot be reached "
                        f"({type(error).__name__}). {ways_out}") from error
    if not any(name.startswith("unet/") and name.endswith(".safetensors") for name in names):
        raise ModelError(f"{repo}: " + NO_SAFETENSORS)
    return Path(snapshot_download(**request)) if download else Path()


NO_SAFETENSORS = ("has no safetensors weights, only pickles (.bin), which can run code when they are read. Convert it "
                   "once, where you trust it: StableDiffusionPipeline.from_pretrained(..., use_safetensors=False)"
                   ".save_pretrained(FOLDER), and name that folder.")

