"""The result of a run: a pipeline folder with its model card, and its way to the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

import model_card
from bases import load_pipeline
from config import TrainConfig
from quiet import known_noise_off
from sampling import use_fast_sampler

with known_noise_off():
    from diffusers import StableDiffusionPipeline

KOHYA_FILE = "kohya_lora.safetensors"


class PublishError(Exception):
    """The hub cannot be written to; the message says why and what to do. The run's result lies in its folder."""


def save_pipeline(config: TrainConfig, unet: UNet2DConditionModel, facts: dict[str, Any], grid: Path) -> Path:
    """Write `pipeline/` of the run folder: the base with the trained UNet, in safetensors, and its card with the grid.

    A LoRA is fused into the pipeline, and written beside it as `lora/pytorch_lora_weights.safetensors` and, for other
    programs, `lora/kohya_lora.safetensors`.
    """
    pipeline = load_pipeline(config.pretrained_model_name_or_path, config.revision)
    if config.lora_rank is not None:
        _save_lora(unet, config.output_dir / "lora")
    pipeline.unet = _plain_copy(unet, pipeline.unet)
    pipeline.unet.register_to_config(sample_size=config.resolution // pipeline.vae_scale_factor)  # what is drawn then
    use_fast_sampler(pipeline)
    dtype = torch.float16 if config.save_precision == "fp16" else torch.float32
    return write_folder(pipeline, dtype, config.output_dir / "pipeline", model_card.text(config, facts), grid)


def write_folder(pipeline: StableDiffusionPipeline, dtype: torch.dtype, final: Path, card: str,
                 grid: Path | None = None) -> Path:
    """Write a pipeline folder in safetensors with its card and, where there is one, the grid that the card shows.

    It appears whole, in place of an older one, and says nothing of this machine.
    """
    building = final.with_name(f".tmp-{final.name}")
    shutil.rmtree(building, ignore_errors=True)
    with known_noise_off():
        pipeline.to("cpu").to(dtype).save_pretrained(building, safe_serialization=True)
    _forget_paths(building)
    if grid is not None:
        shutil.copy(grid, building / "samples.png")
    (building / "README.md").write_text(card, encoding="utf8")
    shutil.rmtree(final, ignore_errors=True)
    building.rename(final)
    return final


def _forget_paths(folder: Path) -> None:
    """Take out of the configurations where the base lay: that says nothing to others, and tells of this machine."""
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf8"))
        if content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf8")


def _plain_copy(trained: UNet2DConditionModel, base: UNet2DConditionModel) -> UNet2DConditionModel:
    """The trained weights in a UNet that has no adapter: a LoRA is fused into the base's own."""
    if not getattr(trained, "peft_config", None):
        base.load_state_dict({name: weight.detach().cpu() for name, weight in trained.state_dict().items()})
        return base
    from peft.utils import get_peft_model_state_dict

    base.load_lora_adapter(get_peft_model_state_dict(trained), prefix=None)
    base.fuse_lora()
    base.unload_lora()
    return base


def _save_lora(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write the adapter in two forms: that of `load_lora_weights`, and that of AUTOMATIC1111 and ComfyUI (kohya's)."""
    from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
    from peft.utils import get_peft_model_state_dict

    adapter = {name: weight.detach().cpu().contiguous() for name, weight in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=convert_state_dict_to_diffusers(adapter), safe_serialization=True)
    save_file(convert_state_dict_to_kohya({f"unet.{name}": weight for name, weight in adapter.items()}),
              folder / KOHYA_FILE)


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
        raise PublishError(f"the hub refuses the token ({_first_line(error)}): log in anew with `hf auth login`, or "
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
        raise PublishError(f"the hub did not take it ({_first_line(error)}). The result lies in {config.output_dir}; "
                           "the same command tries again.") from error


def result_files(config: TrainConfig) -> list[tuple[str, Path]]:
    """What is pushed of a run, by its path in the repository, which is itself a pipeline folder."""
    run = config.output_dir
    roots = [(run / "pipeline", ""), (run / "samples", "samples/"), (run / "lora", "lora/")]
    files = [(prefix + path.relative_to(root).as_posix(), path)
             for root, prefix in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return [*files, ("metrics.jsonl", run / "metrics.jsonl")]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
