"""Nothing is lost: signals in every phase, a full disk, a loss that is not finite, a second run, other settings."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common import checkpoints
from dataset import cache, captioned_folder, record_store
from dataset.batches import Batches
from trainer import export, parts
from trainer.config import TrainConfig
from trainer.loop import TrainingRun
from trainer.losses import DiffusionTerm
from trainer.run import is_out_of_memory
from trainer.run_folder import RunFolder
from trainer.sample_grid import SampleGrid
from trainer.train_state import TrainState
from training_fixtures import (
    Ended,
    before,
    metrics,
    run_main,
    same_tensors,
    save_base,
    save_dataset,
    send,
    small_config,
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a set, a cache, and runs/whole: 6 updates without a fault."""
    folder = tmp_path_factory.mktemp("faults")
    save_base(folder / "base")
    save_dataset(folder / "data")
    ended = run_main(config_of(folder, folder / "whole"), folder / "log")
    assert ended.status == 0, ended.output
    return folder


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{"cache_dir": bench / "cache", **changes})


def checkpoint_names(run: Path) -> list[str]:
    return [path.name for path in checkpoints.listing(run)]


def is_plain(ended: Ended) -> bool:
    """Whether the screen shows a message and no traceback."""
    return "Traceback" not in ended.output


# --- signals ---------------------------------------------------------------------------------------------------------

def within_a_lock(act: Callable[[], object]) -> Callable[[], None]:
    """A trap: act while the third update's batch is waited for, between a lock's release and what takes it back."""
    def wait() -> None:
        condition = threading.Condition()
        with condition:
            held = condition._release_save()
            act()
            condition._acquire_restore(held)

    return before(Batches, "from_step", 1, before(Future, "result", 3, wait))


PHASES = {
    # phase: (where the signal comes in, the step that is saved then, or None where nothing was learned yet)
    "reading the pictures": (lambda act: before(captioned_folder, "check_picture", 3, act), None),
    "loading the base": (lambda act: before(parts, "load_pipeline", 1, act), None),
    "encoding": (lambda act: before(record_store.RecordStore, "append", 1, act), None),
    "an update": (lambda act: before(DiffusionTerm, "__call__", 3, act), 3),
    "waiting for a batch": (within_a_lock, 3),
    "a report": (lambda act: before(RunFolder, "report", 3, act), 3),
    "saving": (lambda act: before(checkpoints, "sync", 2, act), 2),
    "sampling": (lambda act: before(SampleGrid, "grid", 1, act), 4),
    "swapping the weights": (lambda act: before(TrainState, "_swap", 2, act), 4),
    "writing the pipeline": (lambda act: before(export, "_plain_copy", 1, act), 6),
}


@pytest.mark.parametrize(("phase", "number"), [
    *((phase, signal.SIGTERM) for phase in PHASES),
    *((phase, signal.SIGINT) for phase in ("encoding", "an update", "saving", "sampling"))])
def test_a_signal_saves_what_was_learned(phase: str, number: signal.Signals, bench: Path, tmp_path: Path) -> None:
    lay, saved = PHASES[phase]
    config = config_of(bench, tmp_path / "run", checkpointing_steps=2, validation_steps=4)
    if phase == "encoding":
        config = replace(config, cache_dir=tmp_path / "cache")
    ended = run_main(config, tmp_path / "log", lay(send(number)))
    assert ended.status == 128 + number, ended.output
    assert is_plain(ended), ended.output
    assert "the same command resumes" in ended.output
    names = checkpoint_names(tmp_path / "run")
    assert names[-1:] == ([] if saved is None else [checkpoints.checkpoint_name(saved)])

    again = run_main(config, tmp_path / "log")
    assert again.status == 0, again.output
    assert same_tensors(tmp_path / "run/checkpoint-000006", bench / "whole/checkpoint-000006")
    assert [line["step"] for line in metrics(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_a_second_signal_while_the_checkpoint_is_saved_changes_nothing(bench: Path, tmp_path: Path) -> None:
    def lay() -> None:
        before(DiffusionTerm, "__call__", 3, send(signal.SIGTERM))()
        before(checkpoints, "sync", 2, send(signal.SIGINT))()

    ended = run_main(config_of(bench, tmp_path / "run"), tmp_path / "log", lay)
    assert ended.status == 143
    assert is_plain(ended), ended.output
    assert checkpoint_names(tmp_path / "run") == ["checkpoint-000003"]


# --- a full disk -----------------------------------------------------------------------------------------------------

def test_a_full_disk_while_saving_is_said_and_costs_no_checkpoint(bench: Path, tmp_path: Path) -> None:
    def fill_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    config = config_of(bench, tmp_path / "run", checkpointing_steps=2, checkpoints_total_limit=1)
    ended = run_main(config, tmp_path / "log", before(checkpoints, "save", 2, fill_disk))
    assert ended.status == 1, ended.output
    assert is_plain(ended), ended.output
    assert "Whole checkpoints are untouched" in ended.output
    assert checkpoint_names(tmp_path / "run") == ["checkpoint-000002"]
    assert run_main(config, tmp_path / "log").status == 0
    assert same_tensors(tmp_path / "run/checkpoint-000006", bench / "whole/checkpoint-000006")


def test_a_full_disk_while_encoding_is_said_and_mended_by_the_next_run(bench: Path, tmp_path: Path) -> None:
    def fill_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    config = config_of(bench, tmp_path / "run", cache_dir=tmp_path / "cache")
    ended = run_main(config, tmp_path / "log", fill_disk)
    assert ended.status == 1, ended.output
    assert is_plain(ended), ended.output
    assert run_main(config, tmp_path / "log").status == 0
    assert same_tensors(tmp_path / "run/checkpoint-000006", bench / "whole/checkpoint-000006")


# --- what cannot go on -----------------------------------------------------------------------------------------------

def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", checkpointing_steps=2, gradient_accumulation_steps=2,
                       train_batch_size=2)
    ended = run_main(config, tmp_path / "log", lambda: _nan_in(calls=range(6, 9)))
    assert ended.status == 1, ended.output
    assert is_plain(ended), ended.output
    assert "the loss of step 3 is nan" in ended.output
    assert "It drew the rows" in ended.output
    assert "of step 2" in ended.output
    assert checkpoint_names(tmp_path / "run") == ["checkpoint-000002"]
    weights = checkpoints.latest(tmp_path / "run").tensors("unet")
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def _nan_in(calls: range) -> None:
    function, count = DiffusionTerm.__call__, 0

    def loss(self: DiffusionTerm, *arguments: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        return function(self, *arguments) * (float("nan") if count in calls else 1.0)

    DiffusionTerm.__call__ = loss


def test_where_nobody_looks_at_each_loss_a_bad_update_is_not_made_and_nothing_of_it_saved(
        bench: Path, tmp_path: Path) -> None:
    """As on a GPU, where the loop waits for the device only when it reports or saves."""
    def lay() -> None:
        _nan_in(range(3, 4))
        check = TrainingRun.check

        def check_window(self: TrainingRun, losses: list[torch.Tensor], last: int) -> None:
            if losses is self.window.losses:
                check(self, losses, last)

        TrainingRun.check = check_window

    for name, changes in (("report", {"logging_steps": 5}), ("save", {"logging_steps": 6, "checkpointing_steps": 4})):
        ended = run_main(config_of(bench, tmp_path / name, **changes), tmp_path / "log", lay)
        assert ended.status == 1, ended.output
        assert "the loss of step 3 is nan" in ended.output
        assert checkpoint_names(tmp_path / name) == []

    def lay_with_a_signal() -> None:
        lay()
        before(DiffusionTerm, "__call__", 4, send(signal.SIGTERM))()

    ended = run_main(config_of(bench, tmp_path / "signal", logging_steps=6), tmp_path / "log", lay_with_a_signal)
    assert "the loss of step 3 is nan" in ended.output
    assert checkpoint_names(tmp_path / "signal") == []


NO_MEMORY = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "Python": MemoryError(),
    "CPU": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
    "CUDA's driver": torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemory"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")}


@pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
def test_out_of_memory_is_known_by_whoever_says_it(error: BaseException) -> None:
    assert isinstance(error, (MemoryError, RuntimeError)), "what a run looks at"
    assert is_out_of_memory(error)


def test_no_other_error_is_taken_for_one_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize("error", [NO_MEMORY["Python"], NO_MEMORY["CPU"]], ids=["Python", "CPU"])
def test_out_of_memory_is_said_with_what_to_lower(error: BaseException, bench: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise error

    ended = run_main(config_of(bench, tmp_path / "run"), tmp_path / "log", before(DiffusionTerm, "__call__", 2, fail))
    assert ended.status == 1, ended.output
    assert is_plain(ended), ended.output
    for flag in ("--train_batch_size (now 4)", "--gradient_accumulation_steps", "--gradient_checkpointing",
                 "--lora_rank"):
        assert flag in ended.output


def test_a_failing_prefetch_ends_the_run_with_its_error(bench: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("the disk is gone")

    lay = before(cache.EncodedRows, "moments", 3, fail)
    ended = run_main(config_of(bench, tmp_path / "run"), tmp_path / "log", lay)
    assert ended.status == 1, ended.output
    assert "the disk is gone" in ended.output
    assert is_plain(ended)


# --- one owner -------------------------------------------------------------------------------------------------------

def test_a_second_run_on_the_same_folder_is_refused_at_once(bench: Path, tmp_path: Path) -> None:
    owner = RunFolder(tmp_path / "run")
    try:
        config = config_of(bench, tmp_path / "run", train_data_dir=tmp_path / "not read")
        ended = run_main(config, tmp_path / "log")
        assert ended.status == 1
        assert f"another run is at work there (process {os.getpid()})" in ended.output
        assert is_plain(ended)
    finally:
        owner.close()


def test_a_dead_owners_lock_is_taken_over(bench: Path, tmp_path: Path) -> None:
    killed = run_main(config_of(bench, tmp_path / "run"), tmp_path / "log",
                      before(DiffusionTerm, "__call__", 2, send(signal.SIGKILL)))
    assert killed.status == -signal.SIGKILL
    assert (tmp_path / "run/.lock").read_text().strip()
    assert run_main(config_of(bench, tmp_path / "run"), tmp_path / "log").status == 0


def test_a_folder_that_holds_something_else_is_refused(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday.jpg").write_bytes(b"precious")
    ended = run_main(config_of(bench, tmp_path / "photos"), tmp_path / "log")
    assert ended.status == 1
    assert "holds something else" in ended.output
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]


# --- going on --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def with_two_checkpoints(bench: Path) -> Path:
    """A run of which the last two checkpoints are there, at 4 and 6, and that was not marked as finished."""
    run = bench / "two checkpoints"
    ended = run_main(config_of(bench, run, checkpointing_steps=2), bench / "log")
    assert ended.status == 0, ended.output
    assert checkpoint_names(run) == ["checkpoint-000004", "checkpoint-000006"]
    (run / "finished.json").unlink()
    return run


@pytest.fixture
def begun(with_two_checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return shutil.copytree(with_two_checkpoints, tmp_path / "run")


def test_other_settings_are_refused_and_named(bench: Path, begun: Path) -> None:
    held = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    ended = run_main(config_of(bench, begun, seed=1, learning_rate=2e-3, use_ema=False), begun.parent / "log")
    assert ended.status == 1
    for text in ("--seed: was 0, is 1", "--learning_rate: was 0.001, is 0.002", "--use_ema: was True, is False"):
        assert text in ended.output
    assert is_plain(ended)
    assert {path: path.read_bytes() for path in held if path.name != ".lock"} == {
        path: data for path, data in held.items() if path.name != ".lock"}


def test_other_pictures_are_refused(bench: Path, begun: Path, tmp_path: Path) -> None:
    data = save_dataset(tmp_path / "other", count=11)
    ended = run_main(config_of(bench, begun, train_data_dir=data), tmp_path / "log")
    assert ended.status == 1
    assert "dataset_sha256: was" in ended.output


def test_another_base_is_refused(bench: Path, begun: Path, tmp_path: Path) -> None:
    base = save_base(tmp_path / "other base", kind="sd2")
    ended = run_main(config_of(bench, begun, pretrained_model_name_or_path=str(base)), tmp_path / "log")
    assert ended.status == 1
    assert "--pretrained_model_name_or_path: was" in ended.output
    assert "base_unet_sha256: was" in ended.output


def test_a_moved_dataset_and_other_reports_are_welcome(bench: Path, begun: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(bench / "data", tmp_path / "moved")
    shutil.rmtree(begun / "checkpoint-000006")
    config = config_of(bench, begun, train_data_dir=moved, checkpointing_steps=5, validation_prompts=("tree",),
                       num_inference_steps=1, logging_steps=2)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    assert same_tensors(begun / "checkpoint-000006", bench / "whole/checkpoint-000006")


OLD_NAMES = {"composed_fraction": "composed_share", "stroke_tag_fraction": "stroke_tag_share",
             "extra_fraction": "extra_share", "single_component_fraction": "one_part_share",
             "frequent_kanji_weight": "common_weight", "rare_component_exponent": "part_balance",
             "reward_model": "recogniser", "reward_weight": "recogniser_weight"}
GONE = {"caption_dropout": 0.1, "muon_momentum": 0.95, "save_precision": "fp16"}


def as_of_an_older_version(run: Path, **gone: object) -> None:
    """Give the settings and entries of a run folder's files the names that older versions of the trainer wrote."""
    def older(settings: dict) -> dict:
        return {OLD_NAMES.get(name, name): value for name, value in settings.items()} | GONE | gone

    for path in [run / "config.json", *run.glob("checkpoint-*/manifest.json")]:
        content = json.loads(path.read_text())
        if "reward_model_sha256" in content:
            content["recogniser_sha256"] = content.pop("reward_model_sha256")
        content["settings"] = older(content["settings"])
        if content.pop(checkpoints.OWN_DIGEST, None) is not None:
            content[checkpoints.OWN_DIGEST] = checkpoints._own_digest(content)
        path.write_text(json.dumps(content))
    if (run / "finished.json").exists():
        (run / "finished.json").write_text(json.dumps(older(json.loads((run / "finished.json").read_text()))))


def test_a_run_folder_of_an_older_version_is_resumed(bench: Path, begun: Path, tmp_path: Path) -> None:
    shutil.rmtree(begun / "checkpoint-000006")
    as_of_an_older_version(begun)
    ended = run_main(config_of(bench, begun), tmp_path / "log")
    assert ended.status == 0, ended.output
    assert "resuming from" in ended.output
    assert same_tensors(begun / "checkpoint-000006", bench / "whole/checkpoint-000006")
    as_of_an_older_version(begun)
    assert "is complete" in run_main(config_of(bench, begun), tmp_path / "log").output


def test_a_run_of_an_older_version_with_other_settings_is_refused_by_todays_names(
        bench: Path, begun: Path, tmp_path: Path) -> None:
    as_of_an_older_version(begun, caption_dropout=0.3)
    ended = run_main(config_of(bench, begun, composed_fraction=0.9), tmp_path / "log")
    assert ended.status == 1
    assert "--composed_fraction: was 0.5, is 0.9" in ended.output
    assert "--caption_dropout: was 0.3, is 0.1" in ended.output, "a constant now"


def test_the_last_whole_checkpoint_is_taken_and_the_damaged_one_named(bench: Path, begun: Path) -> None:
    (begun / "checkpoint-000006/unet.safetensors").write_bytes(b"damaged")
    ended = run_main(config_of(bench, begun), begun.parent / "log")
    assert ended.status == 0, ended.output
    assert "checkpoint-000006: unet.safetensors is cut or changed" in ended.output
    assert "resuming from" in ended.output
    assert same_tensors(begun / "checkpoint-000006", bench / "whole/checkpoint-000006")


def test_a_run_whose_checkpoints_are_all_damaged_says_that_it_begins_anew(bench: Path, begun: Path) -> None:
    for path in checkpoints.listing(begun):
        (path / "manifest.json").unlink()
    ended = run_main(config_of(bench, begun), begun.parent / "log")
    assert ended.status == 0, ended.output
    assert "no whole checkpoint is left" in ended.output


def test_a_checkpoint_asked_for_by_name_must_be_whole(bench: Path, begun: Path, tmp_path: Path) -> None:
    ended = run_main(config_of(bench, begun, resume_from_checkpoint="checkpoint-000005"), tmp_path / "log")
    assert ended.status == 1
    assert "not in" in ended.output
    assert "checkpoint-000004, checkpoint-000006" in ended.output
    (begun / "checkpoint-000004/ema.safetensors").write_bytes(b"")
    ended = run_main(config_of(bench, begun, resume_from_checkpoint="checkpoint-000004"), tmp_path / "log")
    assert ended.status == 1
    assert "ema.safetensors is cut or changed" in ended.output


def test_a_finished_run_returns_at_once_and_reads_nothing(bench: Path, tmp_path: Path) -> None:
    shutil.copytree(bench / "whole", tmp_path / "run")
    config = config_of(bench, bench / "whole")
    ended = run_main(config, tmp_path / "log", before(captioned_folder, "check_picture", 1, send(signal.SIGKILL)))
    assert ended.status == 0
    assert "is complete" in ended.output


def test_a_finished_run_of_epochs_returns_at_once(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", num_train_epochs=2)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    assert len(metrics(tmp_path / "run")) == 6  # 2 x 12 rows, 4 a step
    assert json.loads((tmp_path / "run/config.json").read_text())["settings"]["max_train_steps"] == 6
    assert "is complete" in run_main(config, tmp_path / "log").output


# --- samples and reports ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_grid_that_was_broken_off_is_drawn_when_the_run_is_resumed(
        number: signal.Signals, bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", checkpointing_steps=2, validation_steps=2)
    whole = replace(config, output_dir=tmp_path / "unbroken")
    assert run_main(whole, tmp_path / "log").status == 0
    assert run_main(config, tmp_path / "log", before(SampleGrid, "grid", 1, send(number))).status != 0
    assert not (tmp_path / "run/samples").exists()
    assert run_main(config, tmp_path / "log").status == 0
    grids = [f"step-{step:06d}.png" for step in (2, 4, 6)]
    for folder in (tmp_path / "run", tmp_path / "unbroken"):
        assert sorted(path.name for path in (folder / "samples").iterdir()) == grids
    for name in grids:
        assert (tmp_path / "run/samples" / name).read_bytes() == (tmp_path / "unbroken/samples" / name).read_bytes()


def test_a_grid_that_is_there_is_not_drawn_again(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", checkpointing_steps=2, validation_steps=2)
    assert run_main(config, tmp_path / "log", before(DiffusionTerm, "__call__", 3, send(signal.SIGKILL))).status != 0
    assert run_main(config, tmp_path / "log", before(SampleGrid, "grid", 3, send(signal.SIGKILL))).status == 0


@pytest.mark.parametrize("name", ["unet.safetensors", "manifest.json"])
def test_a_checkpoint_that_the_disk_cannot_read_is_named_and_the_one_before_taken(
        name: str, bench: Path, begun: Path) -> None:
    file = begun / "checkpoint-000006" / name
    file.unlink()
    file.symlink_to("/proc/self/mem")  # whose first byte cannot be read: EIO
    ended = run_main(config_of(bench, begun), begun.parent / "log")
    assert ended.status == 0, ended.output
    assert f"checkpoint-000006: {name} cannot be read" in ended.output
    assert "Input/output error" in ended.output
    assert "resuming from" in ended.output and "checkpoint-000004" in ended.output
    assert same_tensors(begun / "checkpoint-000006", bench / "whole/checkpoint-000006")


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(path.read_bytes().replace(b'"loss"', b'"lo\xff\xfe"', 1)),
    lambda path: path.write_bytes(b"\0" * 100 + b"\n" + path.read_bytes()),
    lambda path: path.write_text("[" * 100_000 + "\n" + path.read_text()),
    lambda path: path.write_text('{"step": Infinity}\n' + path.read_text()),
    lambda path: path.unlink() or path.symlink_to("/proc/self/mem"), lambda path: path.unlink() or path.mkdir(),
], ids=["no UTF-8", "zeros", "deep", "infinite", "unreadable", "a folder"])
def test_a_damaged_metrics_file_is_named_and_set_aside(
        damage: Callable[[Path], object], bench: Path, begun: Path) -> None:
    path = begun / "metrics.jsonl"
    shutil.rmtree(begun / "checkpoint-000006")
    damage(path)
    ended = run_main(config_of(bench, begun), begun.parent / "log")
    assert ended.status == 0, ended.output
    assert is_plain(ended)
    assert f"{path}: " in ended.output and "it is kept as metrics.damaged-" in ended.output
    assert len(list(begun.glob("metrics.damaged-*"))) == 1
    assert [line["step"] for line in metrics(begun)][-2:] == [5, 6]


def test_a_line_of_the_metrics_that_a_kill_cut_off_is_left_out_without_a_word(bench: Path, begun: Path) -> None:
    path = begun / "metrics.jsonl"
    shutil.rmtree(begun / "checkpoint-000006")
    path.write_bytes(path.read_bytes()[:-20])
    ended = run_main(config_of(bench, begun), begun.parent / "log")
    assert ended.status == 0, ended.output
    assert "damaged" not in ended.output
    assert [line["step"] for line in metrics(begun)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("lora_rank", "limit"), [(4, 3_000), (None, 100_000)], ids=["LoRA", "pipeline"])
def test_a_full_disk_while_the_result_is_written_is_said(
        lora_rank: int | None, limit: int, bench: Path, tmp_path: Path) -> None:
    def fill_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    config = config_of(bench, tmp_path / "run", lora_rank=lora_rank)
    ended = run_main(config, tmp_path / "log", before(export, "save_pipeline", 1, fill_disk))
    assert ended.status == 1, ended.output
    assert is_plain(ended), ended.output
    assert "cannot be written" in ended.output
    assert checkpoint_names(tmp_path / "run") == ["checkpoint-000006"]
    assert not (tmp_path / "run/pipeline").exists() and not list((tmp_path / "run").glob("*/*lora*"))
    assert run_main(config, tmp_path / "log").status == 0


def test_weights_that_a_last_update_made_infinite_are_not_saved(bench: Path, tmp_path: Path) -> None:
    ended = run_main(config_of(bench, tmp_path / "run", learning_rate=1e39, lr_warmup_steps=0, max_train_steps=1),
                     tmp_path / "log")
    assert ended.status == 1, ended.output
    assert is_plain(ended)
    assert "is not finite after 1 steps" in ended.output
    assert checkpoint_names(tmp_path / "run") == []


def test_timesteps_to_favour_beyond_the_schedule_are_refused(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", timestep_bias_strategy="range", timestep_bias_begin=1000,
                       timestep_bias_end=2000)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 1
    assert "--timestep_bias_begin 1000: the base's schedule has the timesteps 0 to 999" in ended.output
    assert is_plain(ended)
