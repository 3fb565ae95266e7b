"""The autoencoder of the embedded base: 128 px grey glyphs to 16x16x4 latents and back, from scratch.

Small because a glyph is simple: 2.6 M parameters draw it back with an L1 of about 0.006 on [-1, 1], to the eye the
same. Trained on 64 px crops of whole glyphs (the network is convolutional but for one attention block in the middle,
and carries over to the whole picture); nothing is flipped. Beside glyphs, which have one pen, it sees line art of many
(line_art.py), so that other clean drawings can be fine-tuned with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from tqdm import tqdm

from common import checkpoints
from common.device import autocast
from common.errors import DivergenceError
from common.files import appearing, write_text
from common.quiet import known_noise_off
from common.schedules import cosine, warm_up
from common.seeds import Purpose, generator
from common.settings import MAY_DIFFER, as_json, check_ranges, setting
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from dataset.images import load_image
from dataset.rows import Row
from models.tiny import RESOLUTION, new_vae
from trainer import line_art

with known_noise_off():
    from diffusers import AutoencoderKL


@dataclass(frozen=True)
class VaeConfig:
    """Settings of the autoencoder's training; the defaults need about 15 minutes on two cores."""

    steps: int = setting(2600, at_least=1)
    """Optimizer updates."""
    batch_size: int = setting(32, at_least=1)
    """Crops an update."""
    crop: int = setting(64, above=0, at_most=RESOLUTION, multiple_of=8)
    """Px, the side of a crop; a multiple of 8, 128 at most."""
    learning_rate: float = setting(1.5e-3, above=0)
    """Peak; 100 steps of warm-up, then a cosine to zero."""
    kl_weight: float = setting(3e-4, at_least=0)
    """Weight of the mean KL divergence a latent, in nats, beside the mean L1 a pixel."""
    line_art_fraction: float = setting(0.4, at_least=0, at_most=1)
    """Of the crops, those of line art drawn by us: pens of 1 to 8 px, filled shapes, dots; 0: glyphs alone."""
    line_art_measured: int = setting(16, at_least=0, may_differ=True)
    """Pictures of line art of each kind on which the error is measured at the end; 0: not measured."""
    checkpointing_steps: int = setting(500, at_least=1, may_differ=True)
    """Updates between checkpoints."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


@dataclass(frozen=True)
class TrainVaeConfig:
    """Settings of an autoencoder's training on a folder."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder; its train/ is learned from and its test/, where it has one, is held out."""
    output_dir: Path = Path("runs/vae")
    """Where checkpoints and the result, vae/, are kept. The same command again resumes where it stopped."""
    seed: int = setting(0, at_least=0)
    """Seed of the first weights; everything random in step n is a function of (seed, n)."""
    vae: tyro.conf.OmitArgPrefixes[VaeConfig] = field(default_factory=VaeConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


def write_vae(config: TrainVaeConfig, stop: StopSignals) -> Path:
    """Train (or resume training) an autoencoder and write it as OUTPUT_DIR/vae, which is there only when it is whole.

    Raises what train_on_folder raises.
    """
    vae = train_on_folder(config.train_data_dir, config.output_dir, config.vae, config.seed, stop)
    with appearing(config.output_dir / "vae") as building:
        vae.save_pretrained(building)
    return config.output_dir / "vae"


def train_on_folder(folder: Path, run_dir: Path, config: VaeConfig, seed: int, stop: StopSignals) -> AutoencoderKL:
    """Train (or resume training) on a dataset folder's train split; prints what it makes of what it never saw.

    RUN_DIR/reconstruction.json keeps those figures. Raises DatasetError, CheckpointError where `run_dir` is that of
    other settings, and what train_vae raises.
    """
    vae = train_vae(read_dataset(folder), run_dir, config, seed, stop)
    held_out = read_dataset(folder, "test") if (folder / "test").is_dir() else ()
    errors = reconstruction_errors(vae, held_out, config.line_art_measured)
    for name, error in errors.items():
        print(f"autoencoder: mean absolute error {error:.4f} on [-1, 1] over {name}")
    write_text(run_dir / "reconstruction.json", json.dumps(errors, indent=1) + "\n")
    return vae


def train_vae(rows: Sequence[Row], run_dir: Path, config: VaeConfig, seed: int, stop: StopSignals) -> AutoencoderKL:
    """Train (or resume training) the autoencoder on the rows' pictures; returns it with normalised latents.

    A step is a function of (seed, step), so an interrupted run resumes from its last checkpoint in `run_dir`. Raises
    Stopped, with a checkpoint saved, when a signal comes in, and DivergenceError when the loss is not finite.
    """
    glyphs = _read_glyphs(rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = new_vae()  # not channels-last: a CPU's group norm is ten times slower so, a whole step 1.6 times
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
    step = _resume(run_dir, vae, optimizer, config, seed)

    def save() -> None:
        files = {"vae": dict(vae.state_dict()), "optimizer": checkpoints.optimizer_tensors(optimizer)}
        checkpoints.save(run_dir, step, files, {"settings": {**as_json(config), "seed": seed}}, limit=2)

    with tqdm(total=config.steps, initial=step, desc="autoencoder", unit="step") as bar, stop.deferred():
        while step < config.steps:
            l1, kl = _update(vae, optimizer, glyphs, config, seed, step)
            step += 1
            bar.update()
            bar.set_postfix(l1=f"{l1:.4f}", kl=f"{kl:.2f}", refresh=False)
            if step % config.checkpointing_steps == 0 or step == config.steps or stop.received:
                save()
            stop.check()
    vae.eval()
    normalise_latents(vae, glyphs)
    return vae


def reconstruction_errors(vae: AutoencoderKL, held_out: Sequence[Row], line_art_count: int) -> dict[str, float]:
    """Mean absolute error on [-1, 1], by what it is measured on: held-out glyphs, and each group of line art."""
    errors = {"held-out glyphs": reconstruction_error(vae, _read_glyphs(held_out))} if held_out else {}
    if line_art_count:
        for name, pictures in line_art.held_out_pictures(line_art_count):
            errors[f"line art, {name}"] = reconstruction_error(vae, torch.from_numpy(pictures)[:, None])
    return errors


def reconstruction_error(vae: AutoencoderKL, glyphs: torch.Tensor, batch_size: int = 16) -> float:
    """Mean absolute difference on [-1, 1] between whole glyphs, uint8 (N, 1, H, W), and the autoencoder's mean."""
    total = 0.0
    for start in range(0, len(glyphs), batch_size):
        batch = _to_unit(glyphs[start:start + batch_size])
        with torch.no_grad():
            total += (vae.decode(vae.encode(batch).latent_dist.mode()).sample - batch).abs().mean().item() * len(batch)
    return total / len(glyphs)


def _update(vae: AutoencoderKL, optimizer: torch.optim.Optimizer, glyphs: torch.Tensor, config: VaeConfig, seed: int,
            step: int) -> tuple[float, float]:
    """One update; returns its L1 and KL. Raises DivergenceError, before the update, where they are not finite."""
    optimizer.param_groups[0]["lr"] = _learning_rate(step, config)
    l1, kl = _losses(vae, _crops(glyphs, config, seed, step), generator(seed, step, Purpose.POSTERIOR))
    loss = l1 + config.kl_weight * kl
    if not math.isfinite(loss.item()):
        raise DivergenceError(f"the autoencoder's loss is {loss.item()} at step {step}; nothing of it was saved")
    loss.backward()
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return l1.item(), kl.item()


def _losses(vae: AutoencoderKL, crops: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean L1 a pixel and mean KL a latent (nats) of a batch (B, 1, H, W) in [-1, 1]."""
    with autocast(torch.device("cpu")):
        posterior = vae.encode(crops).latent_dist
        decoded = vae.decode(posterior.sample(generator=rng)).sample
    kl = posterior.kl() / posterior.mean[0].numel()
    return F.l1_loss(decoded.float(), crops), kl.float().mean()


def _crops(glyphs: torch.Tensor, config: VaeConfig, seed: int, step: int) -> torch.Tensor:
    """Random crops (B, 1, crop, crop) in [-1, 1], drawn from (seed, step): first of new line art, then of glyphs."""
    rng = generator(seed, step, Purpose.ROWS)
    indices = torch.randint(len(glyphs), (config.batch_size,), generator=rng).tolist()
    corners = torch.randint(RESOLUTION - config.crop + 1, (config.batch_size, 2), generator=rng).tolist()
    art = [torch.from_numpy(line_art.training_picture(seed, index))[None] for index in _line_art_indices(config, step)]
    pictures = [*art, *(glyphs[i] for i in indices[len(art):])]
    size = config.crop
    return _to_unit(torch.stack([picture[:, y:y + size, x:x + size]
                                 for picture, (y, x) in zip(pictures, corners, strict=True)]))


def _line_art_indices(config: VaeConfig, step: int) -> range:
    """The pictures of line art of a step: none is seen twice, and over all steps they are the fraction asked for."""
    begin, end = (int(seen * config.batch_size * config.line_art_fraction) for seen in (step, step + 1))
    return range(begin, end)


def _read_glyphs(rows: Sequence[Row]) -> torch.Tensor:
    """All pictures as uint8 (N, 1, 128, 128); 16 kB each, so that a hundred thousand fit into memory."""
    glyphs = np.empty((len(rows), 1, RESOLUTION, RESOLUTION), dtype=np.uint8)
    for index, row in enumerate(tqdm(rows, desc="reading pictures", unit="picture", leave=False)):
        glyphs[index] = np.rint((load_image(row, RESOLUTION, 1) + 1.0) * 127.5)
    return torch.from_numpy(glyphs)


def _to_unit(glyphs: torch.Tensor) -> torch.Tensor:
    return glyphs.float() / 127.5 - 1.0


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, glyphs: torch.Tensor, sample: int = 1024) -> None:
    """Make the latents of an even sample of uint8 glyphs (N, 1, H, W) zero in the mean and one in spread, by channel.

    Stable Diffusion divides all latents by one number. White paper leaves some channels far from zero here, so mean and
    spread are folded into the 1x1 convolutions around the latents instead, exactly: pictures come back as before, and
    the scaling factor is 1.
    """
    chosen = glyphs[torch.linspace(0, len(glyphs) - 1, min(sample, len(glyphs))).long()]
    latents = torch.cat([vae.encode(_to_unit(batch)).latent_dist.mode() for batch in chosen.split(32)])
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    encoding, decoding, channels = vae.quant_conv, vae.post_quant_conv, len(mean)
    decoding.bias += decoding.weight[:, :, 0, 0] @ mean
    decoding.weight *= spread[None, :, None, None]
    encoding.bias[:channels] = (encoding.bias[:channels] - mean) / spread
    encoding.weight[:channels] /= spread[:, None, None, None]
    encoding.bias[channels:] -= 2.0 * spread.log()  # the second half is the posterior's log-variance
    vae.register_to_config(scaling_factor=1.0)


def _learning_rate(step: int, config: VaeConfig) -> float:
    return config.learning_rate * warm_up(step, 100) * cosine(step / config.steps)


def _resume(run_dir: Path, vae: AutoencoderKL, optimizer: torch.optim.Optimizer, config: VaeConfig, seed: int) -> int:
    found = checkpoints.latest(run_dir, warn=tqdm.write)
    if found is None:
        return 0
    checkpoints.require_same_settings(found, {**as_json(config, without=MAY_DIFFER), "seed": seed})
    vae.load_state_dict(found.tensors("vae"))
    checkpoints.load_optimizer_tensors(optimizer, found.tensors("optimizer"))
    return found.step
