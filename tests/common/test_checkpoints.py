"""Checkpoints are whole or not there, whatever happens while they are written or where they lie."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common import checkpoints, files
from common.checkpoints import CheckpointError
from training_fixtures import forked

FILES = ("unet.safetensors", "optimizer.safetensors", "ema.safetensors", "manifest.json")


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    return {name: {"weight": torch.full((64,), float(step)), "bias": torch.arange(8.0) + step}
            for name in ("unet", "optimizer", "ema")}


def save(run: Path, step: int, limit: int | None = 2) -> Path:
    return checkpoints.save(run, step, tensors(step), {"settings": {"seed": 0}}, limit)


def latest_step(run: Path, said: list[str] | None = None) -> int | None:
    found = checkpoints.latest(run, (said if said is not None else []).append)
    return None if found is None else found.step


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    found = checkpoints.verify(save(tmp_path, 5))
    assert found.step == 5
    assert found.manifest == {"settings": {"seed": 0}}
    for name, saved in tensors(5).items():
        assert found.tensors(name).keys() == saved.keys()
        assert all(torch.equal(found.tensors(name)[key], value) for key, value in saved.items())


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(tmp_path, step)
    assert names(tmp_path) == ["checkpoint-000003", "checkpoint-000010"]
    save(tmp_path, 11, limit=None)
    assert len(names(tmp_path)) == 3


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    assert {path.suffix for path in save(tmp_path, 1).iterdir()} == {".safetensors", ".json"}


# --- killed while saving ---------------------------------------------------------------------------------------------

def killing_at(moment: int, log: Path, work: Callable[[], object]) -> Callable[[], object]:
    """Do `work`, but SIGKILL at the moment of that number: before or after a sync, a rename or a removal."""
    def doomed() -> None:
        passed = 0

        def tick(what: str) -> None:
            nonlocal passed
            passed += 1
            if passed == moment:
                log.write_text(what)
                os.kill(os.getpid(), signal.SIGKILL)

        def around(function: Callable, what: str) -> Callable:
            def wrapped(*arguments: object, **named: object) -> object:
                tick(f"before {what} {arguments}")
                result = function(*arguments, **named)
                tick(f"after {what} {arguments}")
                return result
            return wrapped

        checkpoints._write_tensors = around(checkpoints._write_tensors, "writing")
        checkpoints.write_text = around(checkpoints.write_text, "writing")
        checkpoints.sync = files.sync = around(files.sync, "sync")
        checkpoints._remove = around(checkpoints._remove, "removal")
        checkpoints.shutil.rmtree = around(checkpoints.shutil.rmtree, "rmtree")
        Path.unlink = around(Path.unlink, "unlink")
        Path.rename = around(Path.rename, "rename")
        Path.replace = around(Path.replace, "replacement")
        work()

    return doomed


@pytest.mark.parametrize("limit", [1, 2])
def test_sigkill_at_any_moment_of_saving_leaves_a_whole_checkpoint(limit: int, tmp_path: Path) -> None:
    moments = []
    for moment in range(1, 200):
        run = tmp_path / str(moment)
        save(run, 1, limit)
        ended = forked(killing_at(moment, tmp_path / "moment", lambda run=run: save(run, 2, limit)), tmp_path / "log")
        if ended.status == 0:
            break
        assert ended.status == -signal.SIGKILL, ended.output
        moments.append((tmp_path / "moment").read_text())
        survivor = latest_step(run)
        assert survivor in (1, 2), f"no whole checkpoint when killed {moments[-1]}"
        if not (run / "checkpoint-000002").exists():
            assert survivor == 1
        save(run, 2, limit)  # the next try
        assert latest_step(run) == 2
        save(run, 3, limit)
        assert names(run) == ["checkpoint-000002", "checkpoint-000003"][-limit:]
    assert sum("rename" in moment for moment in moments) == 2
    assert sum("writing" in moment for moment in moments) == 2 * len(FILES)
    assert sum("replacement" in moment for moment in moments) == 2 * len(FILES)
    assert sum("sync" in moment for moment in moments) == 2 * (2 * len(FILES) + 2), "each file, its name, the folders"
    assert len(moments) >= 40


def test_a_replaced_damaged_checkpoint_costs_nothing_when_killed(tmp_path: Path) -> None:
    for moment in range(1, 200):
        run = tmp_path / str(moment)
        save(run, 1)
        (save(run, 2) / FILES[0]).write_bytes(b"damaged")
        ended = forked(killing_at(moment, tmp_path / "moment", lambda run=run: save(run, 2)), tmp_path / "log")
        assert latest_step(run) in (1, 2)
        if ended.status == 0:
            break
    assert latest_step(run) == 2
    assert moment > 20


# --- damaged where it lies -------------------------------------------------------------------------------------------

def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])  # the last byte of a manifest is a line end


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", [remove, cut, empty, flip_a_bit])
def test_a_damaged_checkpoint_is_skipped_with_its_reason(damage: Callable[[Path], None], file: str,
                                                         tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / "checkpoint-000002" / file)
    said: list[str] = []
    assert latest_step(tmp_path, said) == 1
    assert len(said) == 1
    assert "checkpoint-000002" in said[0]
    assert file in said[0]


def test_any_flipped_bit_of_the_manifest_is_seen(tmp_path: Path) -> None:
    manifest = save(tmp_path, 1) / checkpoints.MANIFEST
    data = manifest.read_bytes()
    content = json.loads(data)
    for index in range(len(data)):
        for bit in (1, 4, 32):
            changed = bytearray(data)
            changed[index] ^= bit
            manifest.write_bytes(changed)
            try:
                checkpoints.verify(manifest.parent)
            except CheckpointError:
                continue
            assert json.loads(bytes(changed)) == content, "only white space may change unseen"


def test_a_checkpoint_of_the_first_format_is_read(tmp_path: Path) -> None:
    manifest = save(tmp_path, 1) / checkpoints.MANIFEST
    content = json.loads(manifest.read_text())
    del content[checkpoints.OWN_DIGEST]
    manifest.write_text(json.dumps({**content, "format": 1}))
    assert checkpoints.verify(manifest.parent).step == 1
    manifest.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(CheckpointError):
        checkpoints.verify(manifest.parent)


def test_a_damaged_later_checkpoint_never_pushes_out_the_last_good_one(tmp_path: Path) -> None:
    (save(tmp_path, 10, limit=1) / FILES[0]).write_bytes(b"")
    save(tmp_path, 5, limit=1)
    save(tmp_path, 7, limit=1)
    assert latest_step(tmp_path) == 7
    assert names(tmp_path) == ["checkpoint-000007", "checkpoint-000010"]
    save(tmp_path, 10, limit=1)  # reached again, it is written anew
    assert latest_step(tmp_path) == 10
    assert names(tmp_path) == ["checkpoint-000010"]


def test_the_newest_is_that_of_the_highest_step_whatever_the_clock_says(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        save(tmp_path, step, limit=None)
        os.utime(tmp_path / f"checkpoint-{step:06d}", (1e9 - step, 1e9 - step))
    assert latest_step(tmp_path) == 100


def test_strangers_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    save(tmp_path, 1, limit=1)
    for name in ("checkpoint-1500.tmp", "checkpoint-best", "samples"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-999999").write_text("a file")
    assert latest_step(tmp_path) == 1
    save(tmp_path, 2, limit=1)
    assert names(tmp_path) == ["checkpoint-000002", "checkpoint-1500.tmp", "checkpoint-999999", "checkpoint-best",
                               "samples"]


def test_a_renamed_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="step 1"):
        checkpoints.verify(save(tmp_path, 1).rename(tmp_path / "checkpoint-000002"))


def test_a_full_disk_costs_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1)

    def save_on_a_full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
        try:
            save(tmp_path, 2)
        except OSError as error:
            print("refused:", type(error).__name__)  # short: the log is a file too

    ended = forked(save_on_a_full_disk, tmp_path.parent / "log")
    assert ended.status == 0, ended.output
    assert "refused:" in ended.output
    assert names(tmp_path) == ["checkpoint-000001"]
    assert latest_step(tmp_path) == 1


# --- what is loaded --------------------------------------------------------------------------------------------------

def test_moments_come_back_in_the_memory_layout_of_their_weight() -> None:
    """Fused AdamW walks memory: contiguous moments beside a channels_last weight would go to the wrong elements."""
    def trained(interrupt: bool) -> torch.Tensor:
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last))
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
        for step in range(4):
            weight.grad = torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
            optimizer.step()
            if interrupt and step == 1:
                kept = {key: value.clone().contiguous()
                        for key, value in checkpoints.optimizer_tensors(optimizer).items()}
                optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
                checkpoints.load_optimizer_tensors(optimizer, kept)
                assert optimizer.state[weight]["exp_avg"].stride() == weight.stride()
        return weight.detach()

    assert torch.equal(trained(interrupt=True), trained(interrupt=False))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": 1, "step": Infinity, "sha256": {}}', "7", "\0" * 50],
                         ids=["deep", "infinite", "number", "zeros"])
def test_a_manifest_of_any_content_is_damaged_and_skipped(content: str, tmp_path: Path) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "manifest.json").write_text(content)
    said: list[str] = []
    assert latest_step(tmp_path, said) == 1
    assert "checkpoint-000002: manifest.json cannot be read" in said[0]
