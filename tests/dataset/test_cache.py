"""Pictures and captions are encoded once, and a crash or a change costs no more than what it touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from dataset import cache
from dataset.batch_plan import BatchPlan
from dataset.cache import RecordStore, encode_rows
from dataset.captioned_folder import read_dataset
from dataset.images import load_image
from dataset.rows import Row
from models.pipelines import load_pipeline
from models.text import encode_prompts
from training_fixtures import forked, save_base, save_dataset

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    save_base(folder / "base")
    save_dataset(folder / "data", count=6)
    return folder


def everything(rows: Sequence[Row]) -> torch.Tensor:
    return torch.ones((len(rows), 2, 2), dtype=torch.bool) & (
        torch.tensor([[number < len(row.captions) for number in range(2)] for row in rows])[:, :, None])


def encode(base: Path, data: Path, folder: Path, precision: str = "no",
           wanted: torch.Tensor | None = None) -> tuple[cache.EncodedRows, list[Row]]:
    rows = read_dataset(data, progress=False)
    wanted = everything(rows) if wanted is None else wanted
    return encode_rows(load_pipeline(str(base)), rows, wanted, folder, 32, precision, CPU, 1e9), rows


@pytest.fixture
def encoded_keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all that is encoded from here on."""
    keys: list[str] = []
    append = RecordStore.append
    monkeypatch.setattr(RecordStore, "append",
                        lambda store, new, records: (keys.extend(new), append(store, new, records))[1])
    return keys


def test_what_is_looked_up_is_what_the_encoders_give(bench: Path, tmp_path: Path) -> None:
    encoded, rows = encode(bench / "base", bench / "data", tmp_path)
    pipeline = load_pipeline(str(bench / "base"))
    with torch.no_grad():
        pixels = torch.stack([torch.from_numpy(load_image(row.path, 32, 3)) for row in rows])
        posterior = pipeline.vae.encode(pixels).latent_dist
        texts = encode_prompts(pipeline, ["moon", "moon, 1 stroke", "water, 2 strokes", "moon eat", ""], CPU)
    numbers = torch.tensor([0, 0, 1, 0, 2])
    moments = encoded.moments(numbers)
    assert torch.allclose(moments[:, 0], posterior.mean[numbers], atol=1e-5)
    assert torch.allclose(moments[:, 1], posterior.std[numbers], atol=1e-5)
    found = encoded.text(numbers, torch.tensor([0, 0, 0, 1, 0]), torch.tensor([False, True, True, False, False]),
                         torch.tensor([False, False, False, False, True]))
    assert torch.allclose(found, texts, atol=1e-5)


def test_beyond_its_captions_a_composed_row_has_the_names_of_its_parts(bench: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(str(bench / "base"))
    (row, *_) = read_dataset(bench / "data", progress=False)
    parts = [{"element": "氵", "meaning": "water"}, {"element": "馬", "meaning": "tree"}]
    row = Row(row.path, row.sha256, ("water tree",), {"kind": "composed", "strokes": 14, "components": parts})
    encoded = encode_rows(pipeline, [row], torch.ones((1, 3, 2), dtype=torch.bool), tmp_path, 32, "no", CPU, 1e9)
    found = encoded.text(torch.zeros(3, dtype=torch.long), torch.tensor([1, 2, 0]), torch.tensor([True, True, False]),
                         torch.tensor([False, False, False]))
    texts = encode_prompts(pipeline, ["water, 14 strokes", "tree, 14 strokes", "water tree"], CPU)
    assert torch.allclose(found, texts, atol=1e-5)


def test_a_second_run_encodes_nothing(bench: Path, tmp_path: Path, encoded_keys: list[str]) -> None:
    encode(bench / "base", bench / "data", tmp_path)
    assert len(encoded_keys) == len(set(encoded_keys)) > 6
    encoded_keys.clear()
    encode(bench / "base", bench / "data", tmp_path)
    assert encoded_keys == []


def test_a_changed_picture_is_encoded_alone(tmp_path: Path, bench: Path, encoded_keys: list[str]) -> None:
    data = save_dataset(tmp_path / "data", count=6)
    encode(bench / "base", data, tmp_path / "cache")
    encoded_keys.clear()
    Image.new("L", (32, 32), 100).save(data / "train/00003.png")
    encoded, rows = encode(bench / "base", data, tmp_path / "cache")
    assert encoded_keys == [rows[3].sha256]
    assert not torch.equal(encoded.moments(torch.tensor([3])), encoded.moments(torch.tensor([2])))


def test_only_what_the_run_will_draw_is_encoded(bench: Path, tmp_path: Path, encoded_keys: list[str]) -> None:
    rows = read_dataset(bench / "data", progress=False)
    run = BatchPlan(rows, 0, 2, (4, 16, 16), torch.ones(1000), 0.0, 0.0, 0.0, torch.ones(len(rows)))
    encoded, _ = encode(bench / "base", bench / "data", tmp_path, wanted=run.wanted(1))
    assert len(encoded_keys) == 2 + 2 + 1  # two pictures, two captions, the empty one
    drawn = run[0].rows
    encoded.moments(drawn)
    other = next(number for number in range(6) if number not in drawn.tolist())
    with pytest.raises(IndexError, match="not encoded"):
        encoded.moments(torch.tensor([other]))


def test_bases_dtypes_and_tokenizers_do_not_share_records(bench: Path, tmp_path: Path, encoded_keys: list[str]) -> None:
    encode(bench / "base", bench / "data", tmp_path)
    encoded_keys.clear()
    encode(bench / "base", bench / "data", tmp_path, "fp16")
    texts = len(encoded_keys)
    assert texts > 0
    encoded_keys.clear()
    other = save_base(tmp_path / "other", kind="sd2")
    encode(other, bench / "data", tmp_path)
    assert len(encoded_keys) > texts
    pipeline = load_pipeline(str(bench / "base"))
    before = cache._text_store(pipeline, tmp_path, "no").folder
    pipeline.tokenizer.pad_token = "a"
    assert cache._text_store(pipeline, tmp_path, "no").folder != before


def test_the_states_of_a_half_dtype_are_those_of_fp32_rounded(bench: Path, tmp_path: Path) -> None:
    whole, _ = encode(bench / "base", bench / "data", tmp_path)
    half, _ = encode(bench / "base", bench / "data", tmp_path, "fp16")
    place = (torch.tensor([0]), torch.tensor([0]), torch.tensor([False]), torch.tensor([False]))
    assert half.text(*place).dtype == torch.float16
    assert torch.equal(half.text(*place), whole.text(*place).half())


def test_bf16_encodes_nearly_the_same_under_other_keys(bench: Path, tmp_path: Path, encoded_keys: list[str]) -> None:
    whole, rows = encode(bench / "base", bench / "data", tmp_path, "fp16")
    several = len(encoded_keys)
    short, _ = encode(bench / "base", bench / "data", tmp_path, "bf16")
    assert len(encoded_keys) == 2 * several
    drawn = torch.arange(len(rows))
    for one, other in zip(whole.moments(drawn), short.moments(drawn), strict=True):
        assert not torch.equal(one, other)
        assert torch.allclose(one, other, atol=0.03 * one.abs().max().item())


# --- the store -------------------------------------------------------------------------------------------------------

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


def test_a_process_that_waited_finds_what_the_other_encoded(bench: Path, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is read under the lock: a stale one would encode all again, over the records of the first."""
    built = []

    class Builder:
        """Stands for the lock: while we wait for it, another process builds the cache."""

        def __enter__(self) -> None:
            if not built:
                built.append(True)
                ended = forked(lambda: encode(bench / "base", bench / "data", tmp_path), tmp_path / "log")
                assert ended.status == 0, ended.output
                built.extend(path.stat().st_size for path in sorted(tmp_path.glob("*/records.bin")))

        def __exit__(self, *_: object) -> None:
            pass

    one_builder = cache._one_builder
    monkeypatch.setattr(cache, "_one_builder", lambda folder: Builder() if not built else one_builder(folder))
    keys = []
    append = RecordStore.append
    monkeypatch.setattr(RecordStore, "append", lambda one, new, states: (keys.extend(new), append(one, new, states))[1])
    encode(bench / "base", bench / "data", tmp_path)
    assert keys == []
    assert built[1:] == [path.stat().st_size for path in sorted(tmp_path.glob("*/records.bin"))]
