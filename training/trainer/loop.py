"""One training run: its parts, the loop, and what happens at the steps where something is due."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path

import torch
from tqdm import tqdm

from common import checkpoints
from common.errors import UserError
from common.files import write_text
from common.quiet import known_noise_off
from common.settings import as_json
from common.stop_signals import Stopped, StopSignals
from dataset.batch_plan import BatchPlan
from dataset.batches import Batch, Batches
from dataset.cache import encode_rows
from dataset.rows import Row, dataset_hash
from dataset.sampling_weights import row_weights, timestep_weights, with_extra
from models.pipelines import load_pipeline, module_hash
from recogniser.judge import Judge
from trainer import export, hub
from trainer.compile_check import refuse_other_gradients
from trainer.config import CAPTION_DROPOUT, TrainConfig, result_settings
from trainer.diffusion_loss import DiffusionLoss
from trainer.resume import find_checkpoint
from trainer.reward_loss import RewardLoss
from trainer.run_folder import FINISHED, RunFolder, peak_memory_gb
from trainer.sample_grid import Validation
from trainer.train_state import PRECISIONS, TrainState

with known_noise_off():
    from accelerate import Accelerator
    from diffusers import StableDiffusionPipeline


class TrainingError(UserError):
    """A run that cannot go on; the message says why and what to do."""


class TrainingRun:
    """One run: its parts, in the order in which `run_all` needs them."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator, rows: Sequence[Row], run: RunFolder | None,
                 stop: StopSignals, extra: Sequence[Row] = ()) -> None:
        """Load the base, encode what the run will draw, and go back to the last checkpoint.

        `run` is the open run folder in the main process and None in the others; `extra` are the rows to mix in.
        """
        weights = with_extra(row_weights(rows, config.composed_fraction, config.frequent_kanji_weight, config.rare_component_exponent),
                             len(extra), config.extra_fraction)
        rows = [*rows, *extra]
        self.config, self.accelerator, self.run, self.stop = config, accelerator, run, stop
        self.device = accelerator.device
        pipeline = load_pipeline(config.pretrained_model_name_or_path, config.revision)
        self.provenance = {"dataset_sha256": dataset_hash(rows), "base_unet_sha256": module_hash(pipeline.unet),
                      "processes": accelerator.num_processes, "reward_model_sha256": None}
        self.reward_loss = None
        if config.reward_model is not None:
            reward_model = Judge.load(config.reward_model, dataset=None)
            self.provenance["reward_model_sha256"] = reward_model.metadata["sha256"]
            self.reward_loss = RewardLoss(pipeline.scheduler, pipeline.vae, reward_model, rows, self.device)
        found = find_checkpoint(config, self.provenance, accelerator.print)

        reference = None
        if any(row.is_rejected for row in rows):
            reference = deepcopy(pipeline.unet).requires_grad_(False)
            reference.to(self.device, PRECISIONS[config.mixed_precision])
        self.loss = DiffusionLoss(pipeline.scheduler, config.snr_gamma, self.device, reference)
        self.draws = BatchPlan(
            rows, config.seed, config.train_batch_size * config.gradient_accumulation_steps * accelerator.num_processes,
            _latent_shape(pipeline, config.resolution),
            timestep_weights(self.loss.train_timesteps, config.timestep_bias_strategy, config.timestep_bias_portion,
                             config.timestep_bias_multiplier, config.timestep_bias_begin, config.timestep_bias_end),
            CAPTION_DROPOUT, config.stroke_tag_fraction, config.noise_offset, weights, config.single_component_fraction)
        encoded = encode_rows(
            pipeline, rows, self.draws.wanted(config.max_train_steps), config.cache_dir, config.resolution,
            config.mixed_precision, self.device, config.cache_budget * 1e9)
        self.batches = Batches(self.draws, encoded, pipeline.vae.config.scaling_factor, config.train_batch_size,
                               config.gradient_accumulation_steps, accelerator.process_index, self.device)
        self.validation = Validation(pipeline, config, accelerator)
        self.train_state = TrainState(pipeline.unet, config, accelerator)
        self.step = self.saved = 0
        if found is not None:
            self.train_state.load(found)
            self.step = self.saved = found.step
            accelerator.print(f"resuming from {found.path}")
        if self.train_state.compiled is not None:
            self.check_compiled()
        self.window: list[torch.Tensor] = []  # losses since the last report, not yet looked at
        self.window_began = time.perf_counter()

    def run_all(self) -> Path:
        """Train to the last step, saving and sampling on the way; on a signal, save and raise Stopped."""
        if self.run is not None:
            self.run.write_settings(self.config, self.provenance)
            self.run.open_reports(self.step, self.config.report_to == "tensorboard")
        several = self.accelerator.num_processes > 1  # these stop together, at a step that they agree on
        try:
            with self.stop.deferred() if several else nullcontext():
                self.loop()
                return self.finish()
        except Stopped:
            if self.window:
                self.measure()
            self.save()
            self.accelerator.print(f"{checkpoints.checkpoint_name(self.step)} is saved in {self.config.output_dir}",
                                   file=sys.stderr)
            raise

    def loop(self) -> None:
        """The algorithm: draw, predict, weigh, update; and now and then report, save and look."""
        config = self.config
        self.window_began = time.perf_counter()
        with (self.upcoming() as batches,
              tqdm(total=config.max_train_steps, initial=self.step, desc="training", unit="step",
                   disable=self.run is None) as bar):
            while self.step < config.max_train_steps:
                with self.stop.deferred():
                    self.window.append(self.train_step(next(batches)))
                    self.step += 1
                bar.update()
                if self.is_due(config.logging_steps) or self.step == config.max_train_steps:
                    bar.set_postfix(self.measure())
                    self.agree_to_stop()
                if self.is_due(config.checkpointing_steps):
                    self.save()
                if self.is_due(config.validation_steps) and self.step < config.max_train_steps:
                    self.draw_samples()

    @contextmanager
    def upcoming(self) -> Iterator[Iterator[list[Batch]]]:
        """The batches from this step on. Take them in a deferred section: a signal must not break into their locks."""
        batches = self.batches.from_step(self.step, self.config.max_train_steps)
        try:
            yield batches
        finally:
            with self.stop.deferred():
                batches.close()

    def train_step(self, batches: Sequence[Batch]) -> torch.Tensor:
        """One update; returns its mean loss, on the device, not yet looked at."""
        losses = []
        for batch in batches:
            with self.train_state.accumulate(last=batch is batches[-1]):
                with self.accelerator.autocast():
                    loss = self.loss(self.train_state.forward, batch.latents, batch.noise, batch.timesteps, batch.text,
                                     batch.rejected)
                    if self.reward_loss is not None and len(batch.reward_mask):
                        loss = loss.index_add(0, batch.reward_mask, self.look(batch))
                self.accelerator.backward(loss.mean() / len(batches))
            losses.append(loss.detach().mean())
        loss = torch.stack(losses).mean()
        if self.device.type == "cpu":  # where looking costs nothing; on a GPU `check` looks before anything is saved
            self.check([loss], self.step + 1)
        self.norm = self.train_state.update(self.step)
        return loss

    def look(self, batch: Batch) -> torch.Tensor:
        """The recogniser's weighted loss of those of the batch's pictures that it looks at, fp32 (L,)."""
        of = batch.reward_mask
        return self.config.reward_weight * self.reward_loss(
            self.train_state.unet, batch.latents[of], batch.noise[of], batch.timesteps[of], batch.text[of], batch.rows,
            batch.strokes, batch.distortions)

    def check_compiled(self) -> None:
        """Raise CompileError where the compiled UNet would not learn what the plain one does."""
        batch = self.batches.at(self.step)[0]

        def loss_of(network: torch.nn.Module) -> torch.Tensor:
            with self.accelerator.autocast():
                return self.loss(network, batch.latents, batch.noise, batch.timesteps, batch.text,
                                 batch.rejected).mean()

        refuse_other_gradients(loss_of, self.train_state.unet, self.train_state.compiled, self.train_state.trained)

    def is_due(self, every: int) -> bool:
        """Whether something that is done every so many updates is due now; 0 is never."""
        return every > 0 and self.step % every == 0

    def measure(self) -> dict[str, str]:
        """Wait for the device, check and report the losses since the last time; returns them for the progress bar."""
        with self.stop.deferred():
            self.check(self.window, self.step)
            mean = self.accelerator.reduce(torch.stack(self.window).mean(), "mean").item()
            rate = len(self.window) * self.draws.size / (time.perf_counter() - self.window_began)
            if self.run is not None:
                self.run.report(self.step, {
                    "loss": mean, "learning_rate": self.train_state.optimizers.learning_rate,
                    "gradient_norm": self.norm.item(), "images_per_s": round(rate, 2),
                    "peak_memory_gb": round(peak_memory_gb(self.device), 3)})
            self.window, self.window_began = [], time.perf_counter()
        return {"loss": f"{mean:.4f}", "images": f"{rate:.1f}/s"}

    def check(self, losses: Sequence[torch.Tensor], last_step: int) -> None:
        """Raise TrainingError where one of the losses up to `last_step` (updates begun) is not finite."""
        for begun, loss in zip(range(last_step, 0, -1), reversed(torch.stack(list(losses)).tolist()), strict=False):
            if not math.isfinite(loss):
                rows = self.draws[begun - 1].rows.unique().tolist()
                raise TrainingError(
                    f"the loss of step {begun} is {loss}; its update was not made. It drew the rows "
                    f"{', '.join(map(str, rows[:16]))}{', ...' if len(rows) > 16 else ''}. The last checkpoint is that "
                    f"of step {self.saved}. Lower --learning_rate, or use --mixed_precision bf16 or no.")

    def save(self) -> None:
        """Write the checkpoint of this step, by the main process, where there is none yet."""
        if self.saved == self.step:
            return
        with self.stop.deferred(), self.paused():
            if self.window:
                self.check(self.window, self.step)
            if self.run is not None:
                facts = {"settings": as_json(self.config), **self.provenance, **self.train_state.manifest()}
                checkpoints.save(self.run.path, self.step, self.train_state.files(), facts,
                                 self.config.checkpoints_total_limit)
            self.saved = self.step
            self.accelerator.wait_for_everyone()

    def draw_samples(self) -> Path | None:
        """Draw the sample grid with the averaged weights, by the main process; a signal ends it between two steps."""
        path = None
        with self.stop.deferred(), self.paused():
            if self.run is not None:
                alone = self.accelerator.num_processes == 1
                with self.train_state.averaged() as unet:
                    grid = self.validation.grid(unet, on_step=self.stop.check if alone else lambda: None)
                path = self.run.save_grid(self.step, grid)
            self.accelerator.wait_for_everyone()
        return path

    def finish(self) -> Path:
        """Save the last checkpoint, grid and pipeline with its card, publish them, and mark the run as complete."""
        self.save()
        grid = self.draw_samples()
        if self.run is not None:
            with self.stop.deferred(), self.train_state.averaged() as unet:
                pipeline_dir = export.save_pipeline(self.config, unet, self.provenance, grid)
            print(f"pipeline: {pipeline_dir}\nsamples:  {grid}")
            hub.push(self.config)
            write_text(self.run.path / FINISHED, json.dumps(result_settings(self.config), indent=1) + "\n")
        self.accelerator.wait_for_everyone()
        return self.config.output_dir / "pipeline"

    def agree_to_stop(self) -> None:
        """Of several processes, learn whether one was asked to stop; raise Stopped in all of them then.

        A signal that comes in while they ask each other is kept for the next time.
        """
        if self.accelerator.num_processes > 1:
            number = torch.tensor(self.stop.received or 0, device=self.device)
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
            if agreed := int(number.item()):
                self.stop.received = agreed
                self.stop.check()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time that this takes out of images/s."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.window_began += time.perf_counter() - began


def _latent_shape(pipeline: StableDiffusionPipeline, resolution: int) -> tuple[int, int, int]:
    """Channels and sides of a latent. Raises TrainingError where base and resolution do not go together."""
    channels, factor = pipeline.vae.config.latent_channels, pipeline.vae_scale_factor
    if resolution % factor:
        raise TrainingError(f"--resolution {resolution}: must be a multiple of {factor}, which this base's VAE makes "
                            "one latent of")
    if pipeline.unet.config.in_channels != channels:
        raise TrainingError(f"the base's UNet takes {pipeline.unet.config.in_channels} channels and its VAE has "
                            f"{channels}: an inpainting or depth base is not trained here")
    return channels, resolution // factor, resolution // factor
