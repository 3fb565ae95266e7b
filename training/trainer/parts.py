"""The parts of a training run, built from its settings in the order in which they need one another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from common.errors import UserError
from common.quiet import known_noise_off
from common.settings import PRIVATE, as_json
from dataset.batch_plan import BatchPlan, PlanSettings
from dataset.batches import Batches
from dataset.cache import encode_rows
from dataset.encoders import EncodingSettings
from dataset.rows import Row, component_names, dataset_hash
from dataset.sampling_weights import row_weights, timestep_weights, with_extra
from dataset.shard import Shard
from models.component_tokens import add_component_tokens
from models.families import Family, family_of
from models.noise_schedule import NoiseSchedule
from models.pipelines import load_pipeline, module_hash
from recogniser.judge import Judge
from trainer import autoencoder_check, disk_space, memory
from trainer.compile_check import refuse_other_gradients
from trainer.config import CAPTION_DROPOUT, TrainConfig, samples_per_update
from trainer.losses import DiffusionTerm, LossTerm
from trainer.outlook import outlook
from trainer.processes import SharedCheckpoint, refuse_differences, share_of, told_by_main
from trainer.resume import find_checkpoint
from trainer.reward_loss import RewardTerm
from trainer.sample_grid import SampleGrid
from trainer.train_state import PRECISIONS, TrainState

with known_noise_off():
    from accelerate import Accelerator
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel


@dataclass(frozen=True)
class Parts:
    """What a run works with, as it is before update number `step` (from 0)."""

    step: int
    provenance: dict[str, Any]
    card_metadata: dict[str, Any]
    """What the run's card tells beside the settings: see model_card.text."""
    component_names: Mapping[str, str]
    """The components that the base was given tokens for where it had none, and what they are called."""
    plan: BatchPlan
    batches: Batches
    terms: Sequence[LossTerm]
    train_state: TrainState
    sample_grid: SampleGrid


def build_parts(config: TrainConfig, accelerator: Accelerator, rows: Sequence[Row], extra: Sequence[Row] = ()) -> Parts:
    """Load the base, encode what the run will learn from, and go back to the last checkpoint; `extra` are mixed in.

    Raises UserError where the base cannot be had or trained, or where the run folder is that of another run.
    """
    pipeline = load_pipeline(config.pretrained_model_name_or_path, config.revision)
    family = family_of(pipeline)
    names = names_for_tokens(config, [*rows, *extra])
    add_component_tokens(pipeline, names)
    reward_model = None if config.reward_model is None else Judge.load(config.reward_model, dataset=None)
    all_rows = [*rows, *extra]
    samples = samples_per_update(config, accelerator.num_processes)
    provenance = provenance_of(pipeline, all_rows, reward_model, samples)
    refuse_differences(accelerator, {**provenance, **as_json(config, without=PRIVATE)})
    checkpoint = told_by_main(accelerator, lambda: find_checkpoint(config, provenance, accelerator.print))
    if checkpoint is None and accelerator.is_main_process:
        say_what_is_redrawn_badly(config, pipeline, all_rows)
    schedule = family.noise_schedule(pipeline.scheduler, accelerator.device)
    refuse_empty_range(config, len(schedule))
    terms = loss_terms(config, pipeline, family, schedule, all_rows, reward_model, accelerator.device)
    plan = plan_batches(config, rows, extra, family.latent_shape(pipeline, config.resolution), len(schedule), samples)
    step = 0 if checkpoint is None else checkpoint.step
    batches = encode_batches(config, pipeline, plan, all_rows, accelerator,
                             partial(look_ahead, config, pipeline, family, plan, step, accelerator))
    sample_grid = SampleGrid(pipeline, config, accelerator)
    train_state = TrainState(pipeline.unet, family, config, accelerator)
    if checkpoint is not None:
        train_state.load(SharedCheckpoint.of(checkpoint, accelerator))
        accelerator.print(f"resuming from {checkpoint.path}")
    if train_state.compiled is not None:
        check_compiled(train_state, terms[0], batches, step, accelerator)
    card_metadata = {**provenance, "processes": accelerator.num_processes,
                     "kanji": any(row.metadata.get("literal") for row in all_rows)}
    return Parts(step, provenance, card_metadata, names, plan, batches, terms, train_state, sample_grid)


def say_what_is_redrawn_badly(config: TrainConfig, pipeline: StableDiffusionPipeline, rows: Sequence[Row]) -> None:
    """Say where the embedded base's autoencoder does not serve a set. Characters, which it was made for, it serves."""
    if config.pretrained_model_name_or_path != "tiny" or any(row.metadata.get("literal") for row in rows):
        return
    if said := autoencoder_check.what_to_say(pipeline.vae, rows, config):
        print(said, file=sys.stderr)


def names_for_tokens(config: TrainConfig, rows: Sequence[Row]) -> dict[str, str]:
    """The components that captions of the run have tokens for, and what they are called.

    Raises UserError where such captions are asked for and no row has components with names.
    """
    names = component_names(rows) if config.component_caption_fraction else {}
    if config.component_caption_fraction and not names:
        raise UserError(f"--component_caption_fraction {config.component_caption_fraction:g}: no row of "
                        f"{config.train_data_dir} has components that all have a meaning; leave it out")
    return names


def provenance_of(pipeline: StableDiffusionPipeline, rows: Sequence[Row], reward_model: Judge | None,
                  samples: int) -> dict[str, Any]:
    """What must be the same when a run is resumed, beside its settings: data, models, samples of an update."""
    return {"dataset_sha256": dataset_hash(rows), "base_unet_sha256": module_hash(pipeline.unet),
            "samples_per_update": samples,
            "reward_model_sha256": None if reward_model is None else reward_model.metadata["sha256"]}


def loss_terms(config: TrainConfig, pipeline: StableDiffusionPipeline, family: Family, schedule: NoiseSchedule,
               rows: Sequence[Row], reward_model: Judge | None, device: torch.device) -> list[LossTerm]:
    """What is minimised: the diffusion loss, and the reward loss where there is a reward model."""
    reference = None
    if any(row.is_negative for row in rows):
        reference = frozen_copy(pipeline.unet).to(device, PRECISIONS[config.mixed_precision])
    terms: list[LossTerm] = [DiffusionTerm(family, schedule, config.snr_gamma, reference)]
    if reward_model is not None:
        terms.append(RewardTerm(family, schedule, pipeline.vae, reward_model, rows, config.reward_weight, device))
    return terms


def refuse_empty_range(config: TrainConfig, timesteps: int) -> None:
    """Raise UserError where the range of timesteps that is to be favoured begins beyond the base's schedule."""
    if config.timestep_bias_strategy == "range" and config.timestep_bias_begin >= timesteps:
        raise UserError(f"--timestep_bias_begin {config.timestep_bias_begin}: the base's schedule has the timesteps 0 "
                        f"to {timesteps - 1}, so none would be favoured")


def frozen_copy(network: UNet2DConditionModel) -> UNet2DConditionModel:
    """The network as it is now, without gradients."""
    return deepcopy(network).requires_grad_(False)


def plan_batches(config: TrainConfig, rows: Sequence[Row], extra: Sequence[Row], latent_shape: tuple[int, ...],
                 timesteps: int, samples: int) -> BatchPlan:
    """What each update of so many `samples` is drawn to see, of rows that are drawn as often as the settings say."""
    settings = PlanSettings(
        config.seed, samples, latent_shape,
        dropout=CAPTION_DROPOUT, tag_fraction=config.stroke_tag_fraction, noise_offset=config.noise_offset,
        single_component_fraction=config.single_component_fraction,
        component_caption_fraction=config.component_caption_fraction)
    of_rows = row_weights(rows, config.composed_fraction, config.frequent_kanji_weight, config.rare_component_exponent)
    of_timesteps = timestep_weights(timesteps, config.timestep_bias_strategy, config.timestep_bias_portion,
                                    config.timestep_bias_multiplier, config.timestep_bias_begin,
                                    config.timestep_bias_end)
    return BatchPlan([*rows, *extra], settings, with_extra(of_rows, len(extra), config.extra_fraction), of_timesteps)


def encode_batches(config: TrainConfig, pipeline: StableDiffusionPipeline, plan: BatchPlan, rows: Sequence[Row],
                   accelerator: Accelerator, check_room: Callable[[int], None]) -> Batches:
    """The run's batches, of rows that are encoded now where they are not in the cache.

    `check_room` is told before how many bytes the cache will grow by, and may raise.
    """
    encoded = encode_rows(
        pipeline, rows, plan.required_captions(config.max_train_steps),
        EncodingSettings(config.cache_dir, config.resolution, config.mixed_precision, accelerator.device,
                         config.cache_budget * 1e9), check_room,
        partial(share_of, accelerator, config.cache_dir) if accelerator.num_processes > 1 else None)
    shard = Shard.of(config.train_batch_size, config.gradient_accumulation_steps, accelerator.num_processes,
                     accelerator.process_index)
    return Batches(plan, encoded, pipeline.vae.config.scaling_factor, shard)


def look_ahead(config: TrainConfig, pipeline: StableDiffusionPipeline, family: Family, plan: BatchPlan, step: int,
               accelerator: Accelerator, encoded: int) -> None:
    """Say what the run will do from `step` on, and take, `encoded` bytes of it for the cache.

    Raises DiskSpaceError or MemoryTooSmallError where it takes more than there is.
    """
    needs = [disk_space.Need(config.cache_dir, "encoded pictures and captions", encoded)]
    if accelerator.is_main_process:  # the others write nothing else
        needs += disk_space.results_of(config, pipeline, family, step)
    processes, device, settings = accelerator.num_processes, accelerator.device, plan.settings
    accelerator.print(outlook(
        config, device, processes, len(plan.row_weights), settings.size, step,
        memory.check_memory(config, pipeline.unet, family, settings.latent_shape[-1], processes, device),
        disk_space.check_room(needs)))


def check_compiled(train_state: TrainState, term: LossTerm, batches: Batches, step: int,
                   accelerator: Accelerator) -> None:
    """Raise CompileError where the compiled UNet would not learn what the plain one does from the batch of `step`."""
    batch = batches.at(step)[0]

    def loss_of(network: torch.nn.Module) -> torch.Tensor:
        with accelerator.autocast():
            return term(network, batch).mean()

    trained = {name: weight for name, weight in train_state.network.named_parameters() if weight.requires_grad}
    refuse_other_gradients(loss_of, train_state.network, train_state.compiled, trained)
