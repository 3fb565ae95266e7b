"""Records are found again by key, and a crash costs no more than the batch that was being written."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
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


@pytest.mark.parametrize("file", ["records.bin", "index.txt"])
def test_a_torn_tail_is_forgotten_and_written_anew(file: str, tmp_path: Path) -> None:
    store(tmp_path).append(["a", "b"], records(1, 2))
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-1])
    again = store(tmp_path)
    assert again.missing(["a", "b"]) == ["b"]
    again.append(["b", "c"], records(4, 5))
    final = store(tmp_path)
    assert [final.tensor()[final.index[key]].unique().item() for key in "abc"] == [1, 4, 5]


def test_surplus_bytes_of_a_crash_belong_to_no_record(tmp_path: Path) -> None:
    store(tmp_path).append(["a"], records(1))
    with (tmp_path / "records.bin").open("ab") as file:
        file.write(b"x" * 31)
    store(tmp_path).append(["b"], records(2))
    again = store(tmp_path)
    assert again.tensor()[again.index["b"]].unique().item() == 2
    assert again.forget_damaged(["a", "b"]) == []


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = store(tmp_path)
    one.append(["a"], records(1))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            one.append(["b"], records(2))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    one.append(["b"], records(3))
    assert store(tmp_path).tensor()[one.index["b"]].unique().item() == 3


# --- several processes -----------------------------------------------------------------------------------------------

def test_what_another_process_appends_meanwhile_is_kept_and_not_appended_twice(tmp_path: Path) -> None:
    one, other = store(tmp_path), store(tmp_path)
    one.append(["a", "b"], records(1, 2))
    other.append(["b", "c"], records(2, 3))
    one.append(["c", "d"], records(3, 4))
    other.append(["a", "b"], records(1, 2))
    final = store(tmp_path)
    assert [final.tensor()[final.index[key]].unique().item() for key in "abcd"] == [1, 2, 3, 4]
    assert len(final.tensor()) == 4 and (tmp_path / "index.txt").read_bytes().count(b"\n") == 4
    assert final.forget_damaged(["a", "b", "c", "d"]) == []


def test_what_is_found_damaged_stays_so_until_one_process_has_appended_it(tmp_path: Path) -> None:
    store(tmp_path).append(["a", "b"], records(1, 2))
    flip(tmp_path / "records.bin", 0)
    with (tmp_path / "index.txt").open("ab") as file:
        file.write(b"9 x 00000000\n")
    one, other = store(tmp_path), store(tmp_path)
    assert one.forget_damaged(["a", "b"]) == other.forget_damaged(["a", "b"]) == ["a"]
    one.append(["c"], records(3))
    other.append(["a"], records(1))
    one.append(["a"], records(1))
    final = store(tmp_path)
    assert final.damaged_lines == 0 and len(final.tensor()) == 4
    assert final.forget_damaged(["a", "b", "c"]) == []
    assert [final.tensor()[final.index[key]].unique().item() for key in "abc"] == [1, 2, 3]


# --- damage ----------------------------------------------------------------------------------------------------------

def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("offset", [0, 23, 24, 47])
def test_a_flipped_bit_is_found_in_the_record_that_has_it(offset: int, tmp_path: Path) -> None:
    store(tmp_path).append(["a", "b", "c"], records(1, 2, 3))
    flip(tmp_path / "records.bin", offset)
    damaged = "ab"[offset // 24]
    again = store(tmp_path)
    assert again.forget_damaged(["a", "b", "c", "x"]) == [damaged] == again.missing(["a", "b", "c"])
    again.append([damaged], records(7))
    final = store(tmp_path)
    assert final.forget_damaged(["a", "b", "c"]) == [] == final.missing(["a", "b", "c"])
    assert final.tensor()[final.index[damaged]].unique().item() == 7


def change_lines(path: Path, change: Callable[[list[bytes]], object]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("change", [
    lambda lines: lines.pop(1), lambda lines: lines.insert(1, lines[0]), lambda lines: lines.reverse(),
    lambda lines: lines.insert(0, b"\xff\n"), lambda lines: lines.insert(2, b"0 b 00000000\n")])
def test_lines_lost_doubled_moved_or_foreign_shift_no_record(change: Callable[[list[bytes]], object],
                                                            tmp_path: Path) -> None:
    store(tmp_path).append(["a", "b", "c"], records(1, 2, 3))
    change_lines(tmp_path / "index.txt", change)
    again = store(tmp_path)
    assert again.forget_damaged(["a", "b", "c"]) == []
    again.append([*again.missing(["a", "b", "c"]), "d"], records(*[2] * len(again.missing(["b"])), 4))
    final = store(tmp_path)
    assert final.damaged_lines == 0
    assert [final.tensor()[final.index[key]].unique().item() for key in "abcd"] == [1, 2, 3, 4]


def test_no_flipped_bit_of_the_index_gives_a_key_anothers_record(tmp_path: Path) -> None:
    store(tmp_path).append(["a", "b", "c"], records(1, 2, 3))
    whole = (tmp_path / "index.txt").read_bytes()
    for offset in range(len(whole)):
        (tmp_path / "index.txt").write_bytes(whole)
        flip(tmp_path / "index.txt", offset)
        one = store(tmp_path)
        one.forget_damaged(["a", "b", "c"])
        assert all(one.tensor()[number].unique().item() == " abc".index(key) for key, number in one.index.items())
        assert len(one.index) < 3


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
    final = store(tmp_path)
    assert final.tensor()[final.index["b"]].unique().item() == 3
