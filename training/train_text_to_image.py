"""Fine-tune a Stable Diffusion base on captioned pictures.

    python training/train_text_to_image.py --preset tiny --train_data_dir data/kanji --output_dir runs/tiny

The flags are those that users of diffusers' text-to-image script know; `--help` lists them with their units, `--dry-run`
prints what would run. The same command again goes on where it stopped. The run folder holds config.json, command.txt,
metrics.jsonl, samples/, checkpoint-*/, and at the end pipeline/, a diffusers folder with its model card.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a waiting thread gives its core up: 10x on a machine in use

import torch
from tqdm import tqdm

import checkpoints
from bases import BaseError, load_pipeline, module_hash
from batches import Batches
from cache import encode_prompts, encode_rows
from captioned_dataset import DatasetError, Row, dataset_hash, read_dataset
from command_line import UserError, parse_train_config
from config import TrainConfig, as_json, with_epochs
from draws import Draws, row_weights
from learner import Learner
from learning_rate import changes_before
from loss import DiffusionLoss, LossError
from picture_grid import captioned_grid
from publish import save_pipeline
from quiet import known_noise_off
from run_folder import (
    FINISHED,
    RunError,
    RunFolder,
    differing_settings,
    finished_facts,
    is_finished,
    peak_memory_gb,
    write_atomically,
)
from sampling import sample, use_fast_sampler
from stop_signals import Stopped, StopSignals

with known_noise_off():
    from accelerate import Accelerator
    from diffusers import StableDiffusionPipeline


class TrainingError(Exception):
    """A run that cannot go on; the message says why and what to do."""


def main() -> None:
    """Parse, train, and turn a user's mistake into one message and a non-zero exit status."""
    config = parse_train_config(sys.argv[1:], description=__doc__)
    if config.dry_run:
        print(json.dumps(as_json(config), indent=1))
        return
    try:
        train(config)
    except (BaseError, DatasetError, RunError, TrainingError, LossError, checkpoints.CheckpointError,
            UserError) as error:
        sys.exit(f"error: {error}")
    except torch.OutOfMemoryError:
        sys.exit(f"error: the device is out of memory. Lower --train_batch_size (now {config.train_batch_size}) and "
                 "raise --gradient_accumulation_steps by the same factor, add --gradient_checkpointing, lower "
                 "--cache_budget, or train a LoRA with --lora_rank 8.")
    except OSError as error:
        sys.exit(f"error: {error}. Whole checkpoints are untouched; the same command goes on from the last one.")


def train(config: TrainConfig) -> Path:
    """Train as the settings say and return the pipeline folder. The table of contents of a run."""
    if is_finished(config.output_dir, config):
        print(f"{config.output_dir} is complete: {config.output_dir / 'pipeline'}")
        return config.output_dir / "pipeline"
    accelerator = make_accelerator(config)
    rows = read_dataset(config.train_data_dir, "train", config.image_column, config.caption_column,
                        progress=accelerator.is_main_process)[:config.max_train_samples]
    config = with_epochs(config, len(rows), accelerator.num_processes)
    run = RunFolder(config.output_dir) if accelerator.is_main_process else None
    try:
        with StopSignals(always_deferred=accelerator.num_processes > 1) as stop:
            return Training(config, accelerator, rows, run, stop).run_all()
    finally:
        if run is not None:
            run.close()


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The processes and the device. Raises TrainingError where a GPU is asked for and not there."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: no CUDA GPU can be used here (torch.cuda.is_available() is false). "
                            "Leave the flag out to train on the CPU.")
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    if on_cpu and config.mixed_precision == "fp16":
        raise TrainingError("--mixed_precision fp16 needs a CUDA GPU; on a CPU use bf16 or no")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    else:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return Accelerator(mixed_precision=config.mixed_precision, cpu=on_cpu)


class Training:
    """One run: its parts, in the order in which `run_all` needs them."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator, rows: list[Row], run: RunFolder | None,
                 stop: StopSignals) -> None:
        """Load the base, encode what the run will draw, and go back to the last checkpoint."""
        self.config, self.accelerator, self.run, self.stop = config, accelerator, run, stop
        self.device = accelerator.device
        pipeline = load_pipeline(config.pretrained_model_name_or_path, config.revision)
        facts = {"dataset_sha256": dataset_hash(rows), "base_unet_sha256": module_hash(pipeline.unet),
                 "processes": accelerator.num_processes}
        self.facts = facts
        self.refuse_other_settings()

        self.loss = DiffusionLoss(pipeline.scheduler, config.snr_gamma, self.device)
        side = config.resolution // 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        self.draws = Draws(
            rows, config.seed, config.train_batch_size * config.gradient_accumulation_steps * accelerator.num_processes,
            (pipeline.vae.config.latent_channels, side, side), self.loss.train_timesteps, config.caption_dropout,
            config.stroke_tag_share, config.noise_offset,
            row_weights(rows, config.composed_share, config.common_weight))
        encoded = encode_rows(
            pipeline, rows, self.draws.wanted(config.max_train_steps), config.cache_dir, config.resolution,
            torch.float32 if config.mixed_precision == "no" else torch.float16, self.device, config.cache_budget * 1e9)
        self.batches = Batches(self.draws, encoded, pipeline.vae.config.scaling_factor, config.train_batch_size,
                               config.gradient_accumulation_steps, accelerator.process_index, self.device)
        pipeline.text_encoder.to(self.device)
        self.prompts = encode_prompts(pipeline, [*config.validation_prompts, ""], self.device)
        pipeline.text_encoder, pipeline.tokenizer = None, None  # the loop and its samples need neither
        use_fast_sampler(pipeline)
        self.pipeline: StableDiffusionPipeline = pipeline
        self.learner = Learner(pipeline.unet, config, accelerator)
        self.step = self.saved = self.resume()

    def run_all(self) -> Path:
        """Train to the last step, saving and sampling on the way; on a signal, save and leave."""
        if self.run is not None:
            self.run.write_settings(self.config, self.facts)
            self.run.open_reports(self.step, self.config.report_to == "tensorboard")
        try:
            self.loop()
            return self.finish()
        except Stopped as stopped:
            with self.stop.deferred():
                self.save()
            tqdm.write(f"stopped by {stopped}: {checkpoints.checkpoint_name(self.step)} is saved in "
                       f"{self.config.output_dir}; the same command goes on from there", file=sys.stderr)
            sys.exit(stopped.exit_status)

    def loop(self) -> None:
        """The algorithm: for each step draw, predict, weigh, update."""
        config, pending, since = self.config, [], time.perf_counter()
        bar = tqdm(total=config.max_train_steps, initial=self.step, desc="training", unit="step",
                   disable=self.run is None)
        for batches in self.batches.from_step(self.step, config.max_train_steps):
            with self.stop.deferred():
                pending.append(self.train_step(batches))
                self.step += 1
            bar.update()
            if self.step % config.logging_steps == 0 or self.step == config.max_train_steps:
                values = self.measure(pending, time.perf_counter() - since)
                bar.set_postfix(loss=f"{values['loss']:.4f}", images=f"{values['images_per_s']:.1f}/s")
                pending, since = [], time.perf_counter()
            self.agree_to_stop()
            if self.step % config.checkpointing_steps == 0:
                with self.stop.deferred():
                    self.check(pending)
                    self.save()
            if config.validation_steps and self.step % config.validation_steps == 0:
                self.draw_samples()
                since = time.perf_counter()
        bar.close()

    def train_step(self, batches: list) -> torch.Tensor:
        """One update; returns its mean loss, on the device, not yet looked at."""
        losses = []
        for batch in batches:
            with self.accelerator.autocast():
                loss = self.loss(self.learner.forward, batch.latents, batch.noise, batch.timesteps, batch.text).mean()
            self.accelerator.backward(loss / len(batches))
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        if self.device.type == "cpu":  # looking costs nothing there; on a GPU `check` looks before anything is saved
            self.check([mean])
        self.learner.update(self.step)
        return mean

    def measure(self, losses: list[torch.Tensor], seconds: float) -> dict[str, float]:
        """Wait for the device, check the losses since the last time, and report them."""
        mean = self.accelerator.reduce(torch.stack(losses).mean(), "mean").item()
        self.check(losses)
        rate = len(losses) * self.draws.size / seconds
        values = {"loss": mean, "learning_rate": self.learner.optimizer.param_groups[0]["lr"],
                  "images_per_s": round(rate, 2), "peak_memory_gb": round(peak_memory_gb(self.device), 3)}
        if self.run is not None:
            self.run.report(self.step, values)
        return values

    def check(self, losses: list[torch.Tensor]) -> None:
        """Raise TrainingError where one of the last losses is not finite: nothing of that step is ever saved."""
        for before_last, loss in enumerate(reversed(losses)):
            if not math.isfinite(loss.item()):
                step = self.step - before_last
                rows = self.draws[step].rows.unique().tolist()
                raise TrainingError(
                    f"the loss of step {step} is {loss.item()}; nothing of it was saved. It drew the rows {rows[:16]} "
                    f"{'...' if len(rows) > 16 else ''}. Lower --learning_rate, or use --mixed_precision bf16 or no; the "
                    f"last checkpoint is that of step {self.saved}.")

    def save(self) -> None:
        """Write the checkpoint of this step, by the main process, where there is none yet."""
        if self.run is not None and self.saved != self.step:
            facts = {"settings": as_json(self.config), **self.facts, **self.learner.facts()}
            checkpoints.save(self.run.path, self.step, self.learner.files(), facts,
                             self.config.checkpoints_total_limit)
        self.saved = self.step
        self.accelerator.wait_for_everyone()

    def resume(self) -> int:
        """Go back to the checkpoint asked for; returns the updates done, 0 in a new run."""
        wanted = self.config.resume_from_checkpoint
        if wanted == "latest":
            found = checkpoints.latest(self.config.output_dir, warn=self.accelerator.print)
        else:
            found = checkpoints.verify(self.config.output_dir / Path(wanted).name)
        if found is None:
            return 0
        differing = [f"{name}: was {found.facts.get(name)}, is {value}" for name, value in self.facts.items()
                     if found.facts.get(name) != value]
        if differing:
            raise RunError(f"{found.path} belongs to another run:\n  " + "\n  ".join(differing) +
                           "\nName another --output_dir to start afresh.")
        old = replace(self.config, max_train_steps=found.facts["settings"]["max_train_steps"])
        if changes_before(old, self.config, found.step):
            raise RunError(
                f"--max_train_steps was {old.max_train_steps}, is {self.config.max_train_steps}: under --lr_scheduler "
                f"{self.config.lr_scheduler} the {found.step} updates done would have had other learning rates, so this "
                "is no longer run of the same kind. Keep the number, or start afresh in another --output_dir with "
                "--lr_scheduler constant_with_warmup (whose last --lr_cooldown_steps fall to zero).")
        self.learner.load(found)
        self.accelerator.print(f"going on from {found.path}")
        return found.step

    def refuse_other_settings(self) -> None:
        """Raise RunError where the run folder has checkpoints of other settings, naming each that differs."""
        if self.run is None or not checkpoints.listing(self.run.path):
            return
        stored = self.run.stored_settings()
        differing = differing_settings(stored, self.config) if stored else []
        if differing:
            raise RunError(f"{self.run.path} was started with other settings:\n  " + "\n  ".join(differing) +
                           "\nUse those to go on, or name another --output_dir to start afresh.")

    def agree_to_stop(self) -> None:
        """Raise Stopped where a signal came in; several processes agree on the step first."""
        if self.accelerator.num_processes > 1:
            if self.step % self.config.logging_steps:
                return
            number = torch.tensor(self.stop.received or 0, device=self.device)
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
            self.stop.received = int(number.item()) or None
        self.stop.check()

    def draw_samples(self) -> Path | None:
        """Draw the fixed prompts with fixed seeds into a grid, by the main process, with the averaged weights."""
        path = None
        if self.run is not None:
            with self.learner.averaged(), torch.random.fork_rng():
                pictures = self.pictures()
            grid = captioned_grid(pictures, self.config.validation_prompts)
            path = self.run.save_grid(self.step, grid)
        self.accelerator.wait_for_everyone()
        return path

    def pictures(self) -> list:
        """A picture for each validation prompt, seed 0, 1, 2, ...; the VAE visits the device for it."""
        self.pipeline.vae.to(self.device)
        with self.accelerator.autocast():
            pictures = sample(self.pipeline, self.prompts[:-1], self.prompts[-1:], range(len(self.prompts) - 1),
                              self.config.num_inference_steps, self.config.guidance_scale, self.config.resolution)
        self.pipeline.vae.to("cpu")
        return pictures

    def finish(self) -> Path:
        """Save the last checkpoint, the last grid and the pipeline with its card; mark the run as complete."""
        with self.stop.deferred():
            self.save()
        grid = self.draw_samples()
        pipeline_dir = self.config.output_dir / "pipeline"
        if self.run is not None:
            with self.learner.averaged(), self.stop.deferred():
                save_pipeline(self.config, self.pipeline.unet, self.facts, grid)
                finished = json.dumps(finished_facts(self.config), indent=1)
                write_atomically(self.config.output_dir / FINISHED, finished + "\n")
            print(f"pipeline: {pipeline_dir}\nsamples:  {grid}")
        self.accelerator.wait_for_everyone()
        return pipeline_dir


if __name__ == "__main__":
    main()
