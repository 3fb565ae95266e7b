"""Any Stable Diffusion base trains, shows itself, and comes out as a pipeline that anyone can load."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import EMAModel
from PIL import Image
from safetensors.torch import load_file

from common import checkpoints
from common.quiet import known_noise_off
from common.settings import as_flags
from dataset.captioned_folder import read_dataset
from dataset.images import load_image
from dataset.rows import Row, dataset_hash
from models.families import StableDiffusion, encode_prompts, family_of
from models.noise_schedule import NoiseSchedule
from models.pipelines import load_pipeline
from recogniser.judge import Judge
from recogniser_fixtures import save_judge
from trainer.lora_files import KOHYA_FILE
from trainer.losses import DiffusionTerm, LossTerm
from trainer.reward_loss import RewardTerm
from trainer.train_state import TrainState
from training_fixtures import (
    batch_of,
    metrics,
    run_main,
    save_base,
    save_dataset,
    small_config,
)

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    for kind in ("sd1", "sd2"):
        save_base(folder / kind, kind)
    save_base(folder / "grey", "sd2", channels=1)
    save_dataset(folder / "data")
    return folder


def config_of(bench: Path, output: Path, base: str = "sd1", **changes):
    return small_config(bench / base, bench / "data", output, **{"cache_dir": bench / "cache", **changes})


@pytest.mark.parametrize("base", ["sd1", "sd2", "grey"])
def test_every_kind_of_base_trains_and_is_sampled_from(base: str, bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", base, max_train_steps=20, validation_steps=15, lr_scheduler="constant",
                       mixed_precision="bf16", gradient_checkpointing=base == "sd2")
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    losses = [line["loss"] for line in metrics(tmp_path / "run")]
    assert sum(losses[-8:]) < sum(losses[:8])
    with known_noise_off():
        pipeline = StableDiffusionPipeline.from_pretrained(
            tmp_path / "run/pipeline", torch_dtype=torch.float32, safety_checker=None)
    before = load_pipeline(str(bench / base))
    assert pipeline.unet.config.sample_size == 16
    assert not torch.equal(pipeline.unet.conv_in.weight, before.unet.conv_in.weight)
    assert torch.allclose(pipeline.vae.post_quant_conv.weight, before.vae.post_quant_conv.weight, atol=1e-3)
    assert pipeline.scheduler.config.prediction_type == before.scheduler.config.prediction_type
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("moon, 4 strokes", num_inference_steps=2).images[0]
    assert picture.size == (32, 32)
    assert picture.mode == ("L" if base == "grey" else "RGB")


def test_other_folders_are_mixed_in_at_their_share(bench: Path, tmp_path: Path) -> None:
    extra = save_dataset(tmp_path / "extra", count=3), save_dataset(tmp_path / "more", count=2)
    seen = tmp_path / "seen"

    def watch() -> None:
        from dataset.batch_plan import BatchPlan

        drawn = BatchPlan.__getitem__

        def noted(draws: BatchPlan, step: int) -> object:
            with seen.open("a") as file:
                file.write("".join(f"{row}\n" for row in drawn(draws, step).rows.tolist()))
            return drawn(draws, step)

        BatchPlan.__getitem__ = noted

    config = config_of(bench, tmp_path / "run", extra_data_dir=extra, extra_fraction=0.4, max_train_steps=13,
                       train_batch_size=16)
    ended = run_main(config, tmp_path / "log", watch)
    assert ended.status == 0, ended.output
    rows = [int(row) for row in seen.read_text().split()]
    assert max(rows) < 12 + 5 and sum(row >= 12 for row in rows) / len(rows) == pytest.approx(0.4, abs=0.05)
    card = (tmp_path / "run/pipeline/README.md").read_text()
    assert "extra_fraction" in card and str(tmp_path) not in card

    longer = config_of(bench, tmp_path / "run", max_train_steps=15, train_batch_size=16)
    ended = run_main(longer, tmp_path / "log")
    assert ended.status == 1 and "dataset_sha256" in ended.output


def loss_on(rows: list[Row], unet: torch.nn.Module, pipeline: StableDiffusionPipeline) -> float:
    """The loss of a UNet on the rows' pictures and captions, over all timesteps, with fixed noise."""
    term = DiffusionTerm(StableDiffusion(), NoiseSchedule(pipeline.scheduler, CPU), None)
    return mean_loss(term, rows, unet, pipeline, range(20, 1000, 70))


def reward_loss_on(rows: list[Row], pipeline: StableDiffusionPipeline, judge: Judge) -> float:
    """The reward loss of the rows' pictures, noised to the middle and sampled again."""
    schedule = NoiseSchedule(pipeline.scheduler, CPU)
    term = RewardTerm(StableDiffusion(), schedule, pipeline.vae, judge, rows, 1.0, CPU)
    return mean_loss(term, rows, pipeline.unet, pipeline, range(300, 700, 40))


def mean_loss(term: LossTerm, rows: list[Row], unet: torch.nn.Module, pipeline: StableDiffusionPipeline,
              timesteps: range) -> float:
    rng, losses = torch.Generator().manual_seed(0), []
    pictures = torch.stack([torch.from_numpy(load_image(row, 32, pipeline.vae.config.in_channels)) for row in rows])
    with torch.no_grad():
        latents = pipeline.vae.encode(pictures).latent_dist.mean * pipeline.vae.config.scaling_factor
        prompt_embeds = encode_prompts(pipeline, [row.captions[0] for row in rows], CPU)
        for timestep in timesteps:
            noise = torch.randn(latents.shape, generator=rng)
            losses.append(term(unet, batch_of(latents, noise, torch.full((len(rows),), timestep), prompt_embeds,
                                              rows=range(len(rows)))))
    return torch.stack(losses).mean().item()


def save_own(folder: Path, kind: str) -> Path:
    """Pictures that pass for a model's own drawings, all of one kind."""
    extra = save_dataset(folder, count=5)
    metadata = next(extra.rglob("metadata.jsonl"))
    lines = [json.loads(line) for line in metadata.read_text().splitlines()]
    metadata.write_text("".join(json.dumps({**line, "kind": kind}) + "\n" for line in lines))
    return extra


def test_a_run_leads_away_from_rejected_pictures(bench: Path, tmp_path: Path) -> None:
    """The same pictures, kept or rejected: the loss on them falls in one run and rises in the other."""
    after = {}
    for kind in ("drawn", "rejected"):
        extra = save_own(tmp_path / kind, kind)
        config = config_of(bench, tmp_path / f"run-{kind}", extra_data_dir=(extra,), extra_fraction=0.9,
                           max_train_steps=12, learning_rate=1e-3, lr_scheduler="constant", use_ema=False)
        ended = run_main(config, tmp_path / "log")
        assert ended.status == 0, ended.output
        trained = load_pipeline(str(config.output_dir / "pipeline"))
        after[kind] = loss_on(read_dataset(extra, progress=False), trained.unet, trained)
    base = load_pipeline(config.pretrained_model_name_or_path)
    before = loss_on(read_dataset(extra, progress=False), base.unet, base)
    assert after["drawn"] < before < after["rejected"]


def test_a_run_draws_what_its_recogniser_likes_better(bench: Path, tmp_path: Path) -> None:
    extra = save_own(tmp_path / "own", "drawn")
    folder = save_judge(tmp_path / "judge", sharpness=30.0)
    pipelines = {0.0: load_pipeline(str(bench / "sd1"))}
    for weight in (1e-6, 30.0):
        config = config_of(bench, tmp_path / f"run-{weight}", extra_data_dir=(extra,), extra_fraction=0.9,
                           reward_model=folder, reward_weight=weight, max_train_steps=20, learning_rate=2e-3,
                           lr_scheduler="constant", use_ema=False)
        ended = run_main(config, tmp_path / "log")
        assert ended.status == 0, ended.output
        lines = metrics(config.output_dir)
        assert all(line["loss"] == pytest.approx(line["loss/diffusion"] + line["loss/reward"]) for line in lines)
        assert any(line["loss/reward"] > 0 for line in lines)
        pipelines[weight] = load_pipeline(str(config.output_dir / "pipeline"))
    rows, judge = read_dataset(extra, progress=False), Judge.load(folder, dataset=None)
    disliked = {weight: reward_loss_on(rows, pipeline, judge) for weight, pipeline in pipelines.items()}
    assert disliked[30.0] < min(disliked[0.0], disliked[1e-6]) - 0.05

    again = run_main(replace(config, reward_model=save_judge(tmp_path / "other", seed=1), max_train_steps=24,
                             lr_scheduler="constant"), tmp_path / "log")
    assert again.status != 0 and "reward_model_sha256" in again.output


def test_the_run_folder_tells_what_was_done(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", validation_steps=3, checkpointing_steps=2, report_to="tensorboard")
    assert run_main(config, tmp_path / "log").status == 0
    run = tmp_path / "run"
    content = json.loads((run / "config.json").read_text())
    assert content["settings"]["learning_rate"] == 1e-3
    assert {"dataset_sha256", "base_unet_sha256", "git_commit", "machine", "packages", "python"} <= content.keys()
    assert "--train_batch_size 4" in (run / "command.txt").read_text()
    assert metrics(run)[0].keys() == {
        "step", "loss", "loss/diffusion", "learning_rate", "images_per_s", "peak_memory_gb", "gradient_norm"}
    assert [path.name for path in sorted((run / "samples").iterdir())] == ["step-000003.png", "step-000006.png"]
    assert [path.name for path in checkpoints.listing(run)] == ["checkpoint-000004", "checkpoint-000006"]
    assert any((run / "tensorboard").iterdir())
    with Image.open(run / "samples/step-000006.png") as grid:
        assert grid.width > 64
    card = (run / "pipeline/README.md").read_text()
    assert card.startswith("---\n")
    assert "samples.png" in card
    assert "KanjiVG" in card
    assert str(tmp_path) not in card, "paths of this machine are nobody's business"
    assert not list((run / "pipeline").rglob("*.bin"))


def test_the_screen_shows_our_own_lines_alone(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", checkpointing_steps=3, report_to="tensorboard",
                       cache_dir=tmp_path / "cache")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}  # a user's
    ended = subprocess.run([sys.executable, ROOT / "training/train_text_to_image.py", *as_flags(config)],
                           capture_output=True, text=True, check=True, timeout=300, env=environment)
    ours = re.compile(r"(checking pictures|encoding pictures|encoding captions|training): +\d+%.*|pipeline: .*|"
                      r"samples:  .*|(device|memory|disk|rows|update|steps): .*|about .* to go, .*|\s*")
    strangers = [line for line in re.split(r"[\r\n]", ended.stdout + ended.stderr) if not ours.fullmatch(line)]
    assert strangers == []


def test_rows_with_a_held_out_prompt_are_not_trained_on(bench: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "pairs.jsonl"
    prompts.write_text('{"text": "moon"}\n')
    run_main(config_of(bench, tmp_path / "run", max_train_steps=1, held_out_prompts=prompts), tmp_path / "log")
    run_main(config_of(bench, tmp_path / "whole", max_train_steps=1), tmp_path / "log")
    some, whole = (json.loads((tmp_path / name / "config.json").read_text())["dataset_sha256"]
                   for name in ("run", "whole"))
    rows = [row for row in read_dataset(bench / "data", progress=False) if "moon" not in row.captions]
    assert some == dataset_hash(rows) != whole


def test_max_train_samples_takes_the_first_rows(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", max_train_samples=3, num_train_epochs=2, train_batch_size=2)
    assert run_main(config, tmp_path / "log").status == 0
    assert len(metrics(tmp_path / "run")) == 3


# --- learning --------------------------------------------------------------------------------------------------------

def train_state(bench: Path, **changes) -> TrainState:
    config = config_of(bench, Path("unused"), **changes)
    pipeline = load_pipeline(str(bench / "sd1"))
    return TrainState(pipeline.unet, family_of(pipeline), config, Accelerator(cpu=True, mixed_precision="no"))


def moments_of(one: TrainState) -> dict[str, torch.Tensor]:
    return {f"{file} {name}": moment.clone() for file, tensors in one.optimizers.files().items()
            for name, moment in tensors.items()}


def push_weights(one: TrainState, value: float = 1.0) -> None:
    for weight in one.trained.values():
        weight.grad = torch.full_like(weight, value)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_update_that_is_not_finite_changes_nothing(bench: Path, optimizer: str) -> None:
    one = train_state(bench, optimizer=optimizer)
    push_weights(one)
    one.update(0)
    kept = {name: weight.detach().clone() for name, weight in one.trained.items()}
    moments = moments_of(one)
    for value in (float("nan"), float("inf")):
        push_weights(one, value)
        assert not torch.isfinite(one.update(1))
        assert all(torch.equal(weight, kept[name]) for name, weight in one.trained.items())
        after = moments_of(one)
        assert all(torch.equal(moment, after[name]) for name, moment in moments.items())
    push_weights(one)
    one.update(1)
    assert not any(torch.equal(weight, kept[name]) for name, weight in one.trained.items())


def test_muon_updates_kernels_as_matrices_and_leaves_the_rest_to_adamw(bench: Path) -> None:
    one, plain = (train_state(bench, optimizer=name, lr_scheduler="constant") for name in ("muon", "adamw"))
    before = {name: weight.detach().clone() for name, weight in one.trained.items()}
    draw = torch.Generator().manual_seed(0)
    for weight, same in zip(one.trained.values(), plain.trained.values(), strict=True):
        weight.grad = torch.randn(weight.shape, generator=draw)
        same.grad = weight.grad.clone()
    one.update(0)
    plain.update(0)
    kernel = "down_blocks.0.resnets.0.conv1.weight"
    change = (one.trained[kernel].detach() - before[kernel]).flatten(1)
    singular = torch.linalg.svdvals(change)
    assert change.square().mean().sqrt().item() == pytest.approx(0.2 * 1e-3, rel=0.3), "as large as AdamW's"
    assert singular.min() > 0.5 * singular.max(), "and orthogonal, nearly"
    assert not torch.equal(one.trained[kernel], plain.trained[kernel])
    for name in ("conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight", "conv_norm_out.weight"):
        assert torch.allclose(one.trained[name], plain.trained[name])


def test_the_average_is_that_of_diffusers(bench: Path) -> None:
    one = train_state(bench)
    other = EMAModel([weight.detach().clone().requires_grad_() for weight in one.trained.values()], decay=0.999)
    for step in range(5):
        push_weights(one, step - 2.0)
        one.update(step)
        other.step(one.trained.values())
    for ours, theirs in zip(one.ema.shadow_params, other.shadow_params, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_sampling_uses_the_average_and_gives_the_weights_back(bench: Path) -> None:
    one = train_state(bench)
    push_weights(one)
    one.update(0)
    push_weights(one)
    one.update(1)
    live = {name: weight.detach().clone() for name, weight in one.trained.items()}
    average = [shadow.clone() for shadow in one.ema.shadow_params]
    with pytest.raises(KeyError), one.averaged() as unet:
        assert not unet.training
        assert all(torch.equal(weight, kept) for weight, kept in zip(unet.parameters(), average, strict=True))
        raise KeyError
    assert one.unet.training
    assert all(torch.equal(weight, live[name]) for name, weight in one.trained.items())


def test_a_checkpoint_of_other_weights_is_refused_and_changes_nothing(bench: Path, tmp_path: Path) -> None:
    one = train_state(bench)
    other = train_state(bench, lora_rank=2)
    path = checkpoints.save(tmp_path, 3, other.files() | {"optimizer": {}}, {}, None)
    kept = {name: weight.detach().clone() for name, weight in one.trained.items()}
    with pytest.raises(checkpoints.CheckpointError, match="other weights"):
        one.load(checkpoints.verify(path))
    assert all(torch.equal(weight, kept[name]) for name, weight in one.trained.items())


# --- LoRA ------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def lora_run(bench: Path) -> Path:
    config = config_of(bench, bench / "lora", lora_rank=4, mixed_precision="bf16", learning_rate=1e-2)
    ended = run_main(config, bench / "lora.txt")
    assert ended.status == 0, ended.output
    return bench / "lora"


def test_a_lora_trains_the_attention_alone_and_keeps_the_base_in_half(bench: Path) -> None:
    one = train_state(bench, lora_rank=4, mixed_precision="bf16")
    assert all("lora" in name for name in one.trained)
    assert {weight.dtype for weight in one.trained.values()} == {torch.float32}
    frozen = [weight for weight in one.unet.parameters() if not weight.requires_grad]
    assert {weight.dtype for weight in frozen} == {torch.bfloat16}
    again = train_state(bench, lora_rank=4, mixed_precision="bf16")
    assert all(torch.equal(weight, again.trained[name]) for name, weight in one.trained.items())


def test_a_lora_loads_as_diffusers_users_load_one(bench: Path, lora_run: Path) -> None:
    base, fused = load_pipeline(str(bench / "sd1")), load_pipeline(str(lora_run / "pipeline"))
    base.load_lora_weights(lora_run / "lora")
    inputs = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, 32)
    with torch.no_grad():
        plain = load_pipeline(str(bench / "sd1")).unet.eval()(*inputs).sample
        adapted, whole = base.unet.eval()(*inputs).sample, fused.unet.eval()(*inputs).sample
    rounding = (adapted - whole).abs().max()  # the pipeline folder is in fp16
    assert rounding < 2e-3 and (adapted - plain).abs().max() > 10 * rounding


def test_a_lora_is_there_in_the_form_of_other_programs(bench: Path, lora_run: Path) -> None:
    tensors = load_file(lora_run / "lora" / KOHYA_FILE)
    modules = {name.split(".")[0] for name in tensors}
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q" in modules
    assert all(name.startswith("lora_unet_") for name in modules)
    for module in modules:
        assert tensors[f"{module}.alpha"].item() == 4
        assert tensors[f"{module}.lora_down.weight"].shape[0] == tensors[f"{module}.lora_up.weight"].shape[1] == 4
    theirs, ours = load_pipeline(str(bench / "sd1")), load_pipeline(str(bench / "sd1"))
    theirs.load_lora_weights(lora_run / "lora", weight_name=KOHYA_FILE)  # diffusers reads kohya's form too
    ours.load_lora_weights(lora_run / "lora", weight_name="pytorch_lora_weights.safetensors")
    inputs = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, 32)
    with torch.no_grad():
        assert torch.allclose(theirs.unet.eval()(*inputs).sample, ours.unet.eval()(*inputs).sample, atol=1e-5)


@pytest.mark.large
def test_a_base_of_sd_nanos_sizes_trains_and_is_sampled_from_on_a_cpu(bench: Path, tmp_path: Path) -> None:
    """Random weights of Stable Diffusion 2.1's sizes at 128 px; about 16 GB of memory and some minutes."""
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
    available = next((int(line.split()[1]) / 1e6 for line in lines if line.startswith("MemAvailable")), 0)
    if available < 17:
        pytest.skip(f"needs 17 GB of free memory, there are {available:.0f}")
    from benchmarks.train_step import stable_diffusion

    with known_noise_off():
        stable_diffusion("sd-nano").save_pretrained(tmp_path / "nano")
    config = small_config(tmp_path / "nano", bench / "data", tmp_path / "run", resolution=128, train_batch_size=2,
                          max_train_steps=2, use_ema=False, mixed_precision="auto", validation_prompts=("moon",))
    ended = run_main(config, tmp_path / "log", timeout_s=1800)
    assert ended.status == 0, ended.output
    assert all(math.isfinite(line["loss"]) for line in metrics(tmp_path / "run"))
    pipeline = load_pipeline(str(tmp_path / "run/pipeline"))
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("moon", num_inference_steps=1).images[0].size == (128, 128)
