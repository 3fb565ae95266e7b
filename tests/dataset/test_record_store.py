"""Records are found again by key, and a crash costs no more than the batch that was being written."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from dataset.record_store import RecordStore
from training_fixtures import forked


def store(folder: Path) -> RecordStore:
    return RecordStore(folder, (2, 3), torch.float32)


def records(*values: float) -> torch.Tensor:
    return torch.stack([torch.full((2, 3), value) for value in values])


def test_records_come_back_by_key(tmp_path: Path) -> None:
    one = store(tmp_path)
    one.append(["a", "b"], records(1, 2))
    one.append(["c"], records(3))
    again = store(tmp_path)
    assert again.missing(["a", "x", "c", "x"]) == ["x"]
    assert again.tensor()[again.index["c"]].unique().item() == 3
    assert store(tmp_path / "empty").tensor().shape == (0, 2, 3)


@pytest.mark.parametrize("file", ["records.bin", "keys.txt"])
def test_a_torn_tail_is_forgotten_and_written_anew(file: str, tmp_path: Path) -> None:
    store(tmp_path).append(["a", "b"], records(1, 2))
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-1])
    again = store(tmp_path)
    assert again.missing(["a", "b"]) == ["b"]
    again.append(["b", "c"], records(4, 5))
    final = store(tmp_path)
    assert [final.tensor()[final.index[key]].unique().item() for key in "abc"] == [1, 4, 5]


def test_surplus_bytes_of_a_crash_are_overwritten(tmp_path: Path) -> None:
    store(tmp_path).append(["a"], records(1))
    with (tmp_path / "records.bin").open("ab") as file:
        file.write(b"x" * 31)
    store(tmp_path).append(["b"], records(2))
    again = store(tmp_path)
    assert again.tensor()[again.index["b"]].unique().item() == 2


def test_a_kill_between_records_and_keys_loses_that_batch_alone(tmp_path: Path) -> None:
    store(tmp_path).append(["a"], records(1))

    def doomed() -> None:
        calls, sync = [], os.fsync

        def fsync(descriptor: int) -> None:
            sync(descriptor)
            calls.append(descriptor)
            os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = fsync
        store(tmp_path).append(["b"], records(2))

    assert forked(doomed, tmp_path.parent / "log").status == -signal.SIGKILL
    again = store(tmp_path)
    assert again.missing(["a", "b"]) == ["b"]
    again.append(["b"], records(3))
    assert store(tmp_path).tensor()[1].unique().item() == 3
