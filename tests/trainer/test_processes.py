"""Several processes learn what one would, whether they share a disk or not."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from common.settings import as_flags
from dataset.record_store import RecordStore
from models.pipelines import load_pipeline, module_hash
from trainer import disk_space, hub
from trainer.config import TrainConfig
from trainer.resume import _with_current_names
from trainer.train_state import TrainState
from training_fixtures import (
    Ended,
    before,
    metrics,
    run_main,
    run_processes,
    same_tensors,
    save_dataset,
    send,
    small_config,
)

ROOT = Path(__file__).resolve().parents[2]


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{
        "cache_dir": bench / "cache", "max_train_steps": 4, "lr_scheduler": "constant", **changes})


def both(config: TrainConfig, folder: Path) -> list[Ended]:
    """Two processes under the same settings, which must both end well."""
    ended = run_processes([config, config], folder)
    assert [one.status for one in ended] == [0, 0], ended[0].output + ended[1].output
    return ended


def assert_same_learning(one: Path, two: Path) -> None:
    """Losses and weights that agree but for the order of sums."""
    assert [line["step"] for line in metrics(two)] == [1, 2, 3, 4]  # one writer
    assert [line["loss"] for line in metrics(two)] == pytest.approx([line["loss"] for line in metrics(one)], rel=1e-4)
    for name in ("unet", "ema"):
        weights = [load_file(run / f"checkpoint-000004/{name}.safetensors") for run in (one, two)]
        apart = torch.cat([(weight - weights[1][key]).abs().flatten() for key, weight in weights[0].items()])
        assert (apart > 2e-4).double().mean() < 1e-4  # AdamW goes a whole step either way where a gradient is nearly 0


@pytest.mark.parametrize(("batch", "accumulation"), [pytest.param(4, 1, marks=pytest.mark.variant), (2, 2)])
def test_two_processes_make_the_updates_that_one_makes(batch: int, accumulation: int, bench: Path,
                                                       tmp_path: Path) -> None:
    """Of the same samples under the same flags: more GPUs shorten a run, and learn the same."""
    size = {"train_batch_size": batch, "gradient_accumulation_steps": accumulation}
    assert run_main(config_of(bench, tmp_path / "one", **size), tmp_path / "log").status == 0
    both(config_of(bench, tmp_path / "two", **size), tmp_path / "logs")
    assert_same_learning(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("batch", [pytest.param(4, id="one batch", marks=pytest.mark.variant),
                                   pytest.param(2, id="accumulated")])
def test_gradients_lie_in_the_buckets_in_which_they_are_shared(batch: int, bench: Path, tmp_path: Path) -> None:
    """And not beside them, which would cost 4 bytes a weight."""
    def watch(rank: int) -> None:
        update = TrainState.update

        def watched(state: TrainState, step: int) -> torch.Tensor:
            gradients = [weight.grad for weight in state.trained.values()]
            held = {gradient.untyped_storage().data_ptr(): gradient.untyped_storage().nbytes()
                    for gradient in gradients}
            whole = sum(gradient.nbytes for gradient in gradients)
            print(f"{len(held)} buckets of {sum(held.values()) / whole:.2f}", flush=True)
            return update(state, step)

        TrainState.update = watched

    config = config_of(bench, tmp_path / "run", train_batch_size=batch, gradient_accumulation_steps=4 // batch * 2)
    for ended in run_processes([config, config], tmp_path / "logs", before=watch):
        assert ended.status == 0, ended.output
        found = re.findall(r"(\d+) buckets of (.*)", ended.output)
        assert len(found) == 4
        assert all(int(count) <= 4 and size == "1.00" for count, size in found), found


@pytest.mark.parametrize(  # torch has bf16 between GPUs alone: test_gpu.py
    "precision", [pytest.param("no", marks=pytest.mark.variant), "fp16"])
def test_gradients_are_shared_in_the_precision_that_is_asked_for(precision: str, bench: Path, tmp_path: Path) -> None:
    """All of them, once an update. What is learned stays near, but is no longer the same to rounding."""
    def watch(_rank: int) -> None:
        all_reduce = torch.distributed.all_reduce

        def telling(tensor: torch.Tensor, *arguments: object, **named: object) -> object:
            print(f"shared {tensor.numel()} in {tensor.dtype}", flush=True)
            return all_reduce(tensor, *arguments, **named)

        torch.distributed.all_reduce = telling

    size = {"train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert run_main(config_of(bench, tmp_path / "one", **size), tmp_path / "log").status == 0
    config = config_of(bench, tmp_path / "two", compress_gradients=precision, **size)
    weights = sum(weight.numel() for weight in load_pipeline(str(bench / "base")).unet.parameters())
    for ended in run_processes([config, config], tmp_path / "logs", before=watch):
        assert ended.status == 0, ended.output
        shared = re.findall(r"shared (\d+) in torch\.float16", ended.output)
        assert sum(map(int, shared)) == (0 if precision == "no" else 4 * weights), "DDP's own way is not seen"
    if precision == "no":
        assert_same_learning(tmp_path / "one", tmp_path / "two")
        return
    losses = [[line["loss"] for line in metrics(tmp_path / run)] for run in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert losses[1] != pytest.approx(losses[0], rel=1e-6)


def test_a_run_that_one_process_began_is_ended_by_two(bench: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert run_main(config_of(bench, tmp_path / folder, max_train_steps=2), tmp_path / "log").status == 0
    assert run_main(config_of(bench, tmp_path / "one"), tmp_path / "log").status == 0
    (ended, _) = both(config_of(bench, tmp_path / "two"), tmp_path / "logs")
    assert "resuming from" in ended.output
    assert_same_learning(tmp_path / "one", tmp_path / "two")


def test_a_checkpoint_of_when_each_process_had_batches_of_its_own_tells_its_samples(bench: Path) -> None:
    old = {"processes": 2, "settings": {"train_batch_size": 4, "gradient_accumulation_steps": 3}}
    assert _with_current_names(old)["samples_per_update"] == 24


def test_two_processes_resume_to_the_same_bits(bench: Path, tmp_path: Path) -> None:
    both(config_of(bench, tmp_path / "whole"), tmp_path / "logs")
    for steps in (2, 4):
        both(config_of(bench, tmp_path / "half", max_train_steps=steps), tmp_path / "logs")
    assert same_tensors(tmp_path / "half/checkpoint-000004", tmp_path / "whole/checkpoint-000004")


@pytest.mark.slow
def test_accelerates_launcher_starts_them_with_one_writer_and_one_cache(bench: Path, tmp_path: Path) -> None:
    assert run_main(config_of(bench, tmp_path / "one", cache_dir=tmp_path / "cache 1"), tmp_path / "log").status == 0
    config = config_of(bench, tmp_path / "two", cache_dir=tmp_path / "cache 2")
    ended = launch(config)
    assert ended.returncode == 0, ended.stderr
    assert_same_learning(tmp_path / "one", tmp_path / "two")
    sizes = [[path.stat().st_size for path in sorted((tmp_path / name).glob("*/records.bin"))]
             for name in ("cache 1", "cache 2")]
    assert sizes[0] == sizes[1]


def launch(config: TrainConfig) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
               "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
               ROOT / "training/train_text_to_image.py", *as_flags(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


# --- encoding the set ------------------------------------------------------------------------------------------------

def records_in(cache: Path) -> dict[str, dict[str, bytes]]:
    """Of each store, each record by its key; none may be there twice."""
    found = {}
    for folder in sorted(cache.glob("*/")):
        lines = [line.split() for line in (folder / "index.txt").read_text().splitlines()]
        content = (folder / "records.bin").read_bytes()
        size = len(content) // len(lines)
        found[folder.name] = {key: content[int(number) * size:][:size] for number, key, *_ in lines}
        assert len(found[folder.name]) == len(lines) == len({number for number, *_ in lines})
        assert size * len(lines) == len(content)
    return found


def tell_encoded(_rank: int) -> None:
    append = RecordStore.append

    def telling(store: RecordStore, keys: list[str], records: torch.Tensor) -> None:
        print(*(f"encoded {store.folder.name} {key}" for key in keys), sep="\n", flush=True)
        append(store, keys, records)

    RecordStore.append = telling


def test_each_process_encodes_a_share_of_the_set_and_each_record_is_what_one_alone_makes(
        bench: Path, tmp_path: Path) -> None:
    one = config_of(bench, tmp_path / "one", cache_dir=tmp_path / "cache 1", max_train_steps=1)
    assert run_main(one, tmp_path / "log").status == 0
    two = replace(one, output_dir=tmp_path / "two", cache_dir=tmp_path / "cache 2")
    ended = run_processes([two, two], tmp_path / "logs", before=tell_encoded)
    assert [each.status for each in ended] == [0, 0], ended[0].output + ended[1].output
    stores = records_in(tmp_path / "cache 1")
    assert records_in(tmp_path / "cache 2") == stores and len(stores) == 2
    shares = [re.findall(r"encoded (\S+) ([0-9a-f]{64})", each.output) for each in ended]
    assert sorted(shares[0] + shares[1]) == sorted((name, key) for name, keys in stores.items() for key in keys)
    assert all({name for name, _ in share} == set(stores) for share in shares), "both encoded of either kind"


def test_where_one_process_is_killed_while_it_encodes_the_other_does_not_wait_for_it(bench: Path,
                                                                                    tmp_path: Path) -> None:
    """It encodes what the dead one left, for the next run, and ends where it needs it."""
    def kill(rank: int) -> None:
        if rank == 1:
            before(RecordStore, "append", 1, send(signal.SIGKILL))()

    config = config_of(bench, tmp_path / "run", cache_dir=tmp_path / "cache", max_train_steps=1)
    first, second = run_processes([config, config], tmp_path / "logs", before=kill, timeout_s=240)
    assert second.status == -signal.SIGKILL
    assert first.status > 0, first.output
    assert run_main(replace(config, output_dir=tmp_path / "one"), tmp_path / "log",
                    before=lambda: setattr(RecordStore, "append", None)).status == 0, "all is there"
    assert records_in(tmp_path / "cache")


@pytest.mark.parametrize("failing", [0, 1])
def test_what_keeps_one_process_from_encoding_ends_all(failing: int, bench: Path, tmp_path: Path) -> None:
    def fill_the_disk(rank: int) -> None:
        def refuse(_needs: object) -> None:
            raise disk_space.DiskSpaceError("the disk has too little room")

        if rank == failing:
            disk_space.check_room = refuse

    config = config_of(bench, tmp_path / "run", cache_dir=tmp_path / "cache")
    ended = run_processes([config, config], tmp_path / "logs", before=fill_the_disk, timeout_s=240)
    assert [each.status for each in ended] == [1, 1]
    assert "the disk has too little room" in ended[failing].output
    assert "error" not in ended[1 - failing].output and "Traceback" not in ended[0].output + ended[1].output
    assert not list((tmp_path / "cache").glob("*/"))


# --- several machines ------------------------------------------------------------------------------------------------

def apart(bench: Path, folder: Path, **changes) -> list[TrainConfig]:
    """Two processes' settings as on machines that share no disk: run folder and cache of their own."""
    return [config_of(bench, folder / f"machine-{rank}/run", cache_dir=folder / f"machine-{rank}/cache", **changes)
            for rank in range(2)]


def weights_seen(ended: Ended) -> list[str]:
    return re.findall("before update (.*)", ended.output)


def tell_weights(rank: int) -> None:
    """Print, before each update, which one it is and a digest of the weights."""
    update = TrainState.update

    def telling(state: TrainState, step: int) -> torch.Tensor:
        print(f"before update {step}: {module_hash(state.unet)}", flush=True)
        return update(state, step)

    TrainState.update = telling


def test_a_run_resumes_where_the_other_machine_has_no_checkpoint(bench: Path, tmp_path: Path) -> None:
    """The first one's goes to it: weights, moments and average."""
    both(config_of(bench, tmp_path / "whole"), tmp_path / "logs")
    for steps in (2, 4):
        ended = run_processes(apart(bench, tmp_path, max_train_steps=steps), tmp_path / "logs", before=tell_weights)
        assert [one.status for one in ended] == [0, 0], ended[0].output + ended[1].output
        assert weights_seen(ended[0]) == weights_seen(ended[1])
        assert len(weights_seen(ended[0])) == 2
    assert same_tensors(tmp_path / "machine-0/run/checkpoint-000004", tmp_path / "whole/checkpoint-000004")
    assert not (tmp_path / "machine-1/run").exists(), "one writer"

    again = run_processes(apart(bench, tmp_path), tmp_path / "logs", timeout_s=120)
    assert [one.status for one in again] == [0, 0], "none begins what the first one has finished"
    assert "is complete" in again[0].output


@pytest.mark.parametrize("name", ["seed", "dataset_sha256"])
def test_machines_that_would_do_different_things_are_told_in_what(name: str, bench: Path, tmp_path: Path) -> None:
    first, second = apart(bench, tmp_path)
    if name == "seed":
        second = replace(second, seed=7)
    else:
        second = replace(second, train_data_dir=save_dataset(tmp_path / "other", count=10))
    ended = run_processes([first, second], tmp_path / "logs", timeout_s=120)
    assert [one.status for one in ended] == [1, 1]
    assert f"{name}: " in ended[0].output and "in process 1 on " in ended[0].output
    assert "Traceback" not in ended[0].output + ended[1].output
    assert "error" not in ended[1].output, "said once"


def test_a_run_that_may_not_be_resumed_ends_in_all_processes(bench: Path, tmp_path: Path) -> None:
    both(config_of(bench, tmp_path / "run", max_train_steps=2), tmp_path / "logs")
    other = config_of(bench, tmp_path / "run", learning_rate=1e-2)
    ended = run_processes([other, other], tmp_path / "logs", timeout_s=120)
    assert [one.status for one in ended] == [1, 1]
    assert "--learning_rate" in ended[0].output and "Traceback" not in ended[0].output + ended[1].output


def test_none_waits_for_the_one_that_saves_the_pipeline_and_pushes_it(bench: Path, tmp_path: Path) -> None:
    """An upload takes as long as it takes; a barrier of NCCL's has a time-out."""
    held = []

    def lay(rank: int) -> None:
        lock = (tmp_path / "lock").open("w")
        if rank == 1:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held.append(lock)  # until the process has left
        else:
            hub.push = lambda *_: fcntl.flock(lock, fcntl.LOCK_EX)

    config = config_of(bench, tmp_path / "run")
    ended = run_processes([config, config], tmp_path / "logs", before=lay, timeout_s=120)
    assert [one.status for one in ended] == [0, 0], ended[0].output + ended[1].output


def test_processes_wait_for_one_another_for_hours(bench: Path, tmp_path: Path) -> None:
    """NCCL's own limit is ten minutes; the first encoding of a set at 512 px takes longer."""
    def watch(rank: int) -> None:
        begin = torch.distributed.init_process_group

        def telling(*arguments: object, **named: object) -> None:
            print(f"waits for {named['timeout']}", flush=True)
            begin(*arguments, **named)

        torch.distributed.init_process_group = telling

    config = config_of(bench, tmp_path / "run", max_train_steps=1)
    for ended in run_processes([config, config], tmp_path / "logs", before=watch):
        assert ended.status == 0 and "waits for 2:00:00" in ended.output, ended.output
