"""Pictures and captions are encoded once, and a crash or a change costs no more than what it touched."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from dataset import cache
from dataset.cache import CacheError, EncodedRows, encode_rows
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.encoders import (
    CAPTION_BATCH,
    IMAGE_BATCH,
    EncodingSettings,
    caption_store,
    fill_captions,
    fill_images,
    image_store,
)
from dataset.images import load_image
from dataset.record_store import RecordStore
from dataset.rows import Row
from models.families import encode_prompts
from models.pipelines import load_pipeline
from plan_fixtures import batch_plan
from training_fixtures import forked, run_main, same_tensors, save_base, save_dataset, small_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    save_base(folder / "base")
    save_dataset(folder / "data", count=6)
    return folder


def settings(folder: Path, precision: str = "no") -> EncodingSettings:
    return EncodingSettings(folder, resolution=32, precision=precision, device=CPU, budget_bytes=1e9)


def all_captions(rows: Sequence[Row]) -> torch.Tensor:
    return torch.ones((len(rows), 2, 2), dtype=torch.bool) & (
        torch.tensor([[number < len(row.captions) for number in range(2)] for row in rows])[:, :, None])


def encode(base: Path, data: Path, folder: Path, precision: str = "no",
           required: torch.Tensor | None = None) -> tuple[EncodedRows, list[Row]]:
    rows = read_dataset(data, progress=False)
    required = all_captions(rows) if required is None else required
    return encode_rows(load_pipeline(str(base)), rows, required, settings(folder, precision)), rows


def encode_images(vae: torch.nn.Module, rows: Sequence[Row], how: EncodingSettings) -> RecordStore:
    store = image_store(vae, how)
    fill_images(store, vae, rows, how)
    return store


def encode_captions(pipeline: object, captions: Sequence[str], how: EncodingSettings) -> RecordStore:
    store = caption_store(pipeline, how)
    fill_captions(store, pipeline, captions, how)
    return store


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
        pixels = torch.stack([torch.from_numpy(load_image(row, 32, 3)) for row in rows])
        posterior = pipeline.vae.encode(pixels).latent_dist
        texts = encode_prompts(pipeline, ["moon", "moon, 1 stroke", "water, 2 strokes", "moon eat", ""], CPU)
    numbers = torch.tensor([0, 0, 1, 0, 2])
    moments = encoded.moments(numbers)
    assert torch.allclose(moments[:, 0], posterior.mean[numbers], atol=1e-5)
    assert torch.allclose(moments[:, 1], posterior.std[numbers], atol=1e-5)
    found = encoded.prompt_embeds(numbers, captions=torch.tensor([0, 0, 0, 1, 0]),
                                  tagged=torch.tensor([False, True, True, False, False]),
                                  dropped=torch.tensor([False, False, False, False, True]))
    assert torch.allclose(found, texts, atol=1e-5)


def test_beyond_its_captions_a_composed_row_has_the_names_of_its_components(bench: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(str(bench / "base"))
    (row, *_) = read_dataset(bench / "data", progress=False)
    components = [{"element": "氵", "meaning": "water"}, {"element": "馬", "meaning": "tree"}]
    row = Row(row.path, row.sha256, ("water tree",), {"kind": "composed", "strokes": 14, "components": components})
    encoded = encode_rows(pipeline, [row], torch.ones((1, 3, 2), dtype=torch.bool), settings(tmp_path))
    found = encoded.prompt_embeds(torch.zeros(3, dtype=torch.long), captions=torch.tensor([1, 2, 0]),
                                  tagged=torch.tensor([True, True, False]), dropped=torch.tensor([False, False, False]))
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


def test_only_what_the_run_requires_is_encoded(bench: Path, tmp_path: Path, encoded_keys: list[str]) -> None:
    rows = read_dataset(bench / "data", progress=False)
    plan = batch_plan(rows, size=2, dropout=0.0, tag_fraction=0.0)
    encoded, _ = encode(bench / "base", bench / "data", tmp_path, required=plan.required_captions(1))
    assert len(encoded_keys) == 2 + 2 + 1  # two pictures, two captions, the empty one
    required = plan[0].rows
    encoded.moments(required)
    other = next(number for number in range(6) if number not in required.tolist())
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
    before = encode_captions(pipeline, ["moon"], settings(tmp_path)).folder
    pipeline.tokenizer.pad_token = "a"
    assert encode_captions(pipeline, ["moon"], settings(tmp_path)).folder != before


def test_the_embeddings_of_a_half_dtype_are_those_of_fp32_rounded(bench: Path, tmp_path: Path) -> None:
    whole, _ = encode(bench / "base", bench / "data", tmp_path)
    half, _ = encode(bench / "base", bench / "data", tmp_path, "fp16")
    caption = (torch.tensor([0]), torch.tensor([0]), torch.tensor([False]), torch.tensor([False]))
    assert half.prompt_embeds(*caption).dtype == torch.float16
    assert torch.equal(half.prompt_embeds(*caption), whole.prompt_embeds(*caption).half())


def test_bf16_encodes_nearly_the_same_under_other_keys(bench: Path, tmp_path: Path, encoded_keys: list[str]) -> None:
    whole, rows = encode(bench / "base", bench / "data", tmp_path, "fp16")
    several = len(encoded_keys)
    short, _ = encode(bench / "base", bench / "data", tmp_path, "bf16")
    assert len(encoded_keys) == 2 * several
    all_rows = torch.arange(len(rows))
    for one, other in zip(whole.moments(all_rows), short.moments(all_rows), strict=True):
        assert not torch.equal(one, other)
        assert torch.allclose(one, other, atol=0.03 * one.abs().max().item())


def test_a_picture_has_the_same_record_whatever_it_was_encoded_with(bench: Path, tmp_path: Path,
                                                                   encoded_keys: list[str]) -> None:
    """On every machine: a library chooses its kernels by the size of a batch."""
    rows = read_dataset(bench / "data", progress=False)
    pipeline = load_pipeline(str(bench / "base"))
    sizes, captions = [], [caption for row in rows for caption in row.captions]
    pipeline.vae.encoder.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    pipeline.text_encoder.register_forward_pre_hook(
        lambda _, given, named: sizes.append(len(named.get("input_ids", *given[:1]))), with_kwargs=True)
    encode_images(pipeline.vae, rows[:1], settings(tmp_path / "one after another"))
    for folder in ("one after another", "together"):
        images = encode_images(pipeline.vae, rows, settings(tmp_path / folder))
        encode_captions(pipeline, captions[:1], settings(tmp_path / folder))
        texts = encode_captions(pipeline, captions, settings(tmp_path / folder))
    assert set(sizes) == {IMAGE_BATCH, CAPTION_BATCH}
    assert len(encoded_keys) == 2 * (len(rows) + len(set(captions)))
    one_after_another = encode_images(pipeline.vae, rows, settings(tmp_path / "one after another"))
    for row in rows:
        assert torch.equal(one_after_another.tensor()[one_after_another.index[row.sha256]],
                           images.tensor()[images.index[row.sha256]])
    assert texts.tensor().shape == (len(set(captions)), 77, 32)


@pytest.mark.parametrize("file", ["records.bin", "index.txt"])
def test_a_damaged_record_is_encoded_anew_and_that_is_said(file: str, bench: Path, tmp_path: Path,
                                                          encoded_keys: list[str],
                                                          capsys: pytest.CaptureFixture) -> None:
    whole, rows = encode(bench / "base", bench / "data", tmp_path)
    all_rows = torch.arange(len(rows))
    moments = whole.moments(all_rows).clone()
    (folder,) = tmp_path.glob("moments-*")
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 64
    (folder / file).write_bytes(content)
    encoded_keys.clear()
    capsys.readouterr()
    again, _ = encode(bench / "base", bench / "data", tmp_path)
    assert len(encoded_keys) == 1 and torch.equal(again.moments(all_rows), moments)
    assert f"{folder}: 1 damaged record in the cache" in capsys.readouterr().err
    encode(bench / "base", bench / "data", tmp_path)
    assert len(encoded_keys) == 1 and "damaged" not in capsys.readouterr().err


def test_a_run_with_a_damaged_cache_learns_what_one_with_a_whole_one_does(bench: Path, tmp_path: Path) -> None:
    config = small_config(bench / "base", bench / "data", tmp_path / "whole", max_train_steps=2)
    assert run_main(config, tmp_path / "log").status == 0
    for records in config.cache_dir.glob("*/records.bin"):
        content = bytearray(records.read_bytes())
        for offset in range(100, len(content), 999):
            content[offset] ^= 64
        records.write_bytes(content)
    for index in config.cache_dir.glob("*/index.txt"):
        index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[1:]))
    ended = run_main(replace(config, output_dir=tmp_path / "damaged"), tmp_path / "log")
    assert ended.status == 0, ended.output
    assert "damaged records in the cache, not used" in ended.output
    assert same_tensors(tmp_path / "damaged/checkpoint-000002", tmp_path / "whole/checkpoint-000002")


def test_a_picture_that_changes_after_the_check_is_refused_and_nothing_of_it_kept(tmp_path: Path, bench: Path) -> None:
    data = save_dataset(tmp_path / "data", count=6)
    rows = read_dataset(data, progress=False)
    Image.new("L", (32, 32), 100).save(rows[3].path)
    with pytest.raises(DatasetError, match=r"00003\.png: the picture has changed"):
        encode_rows(load_pipeline(str(bench / "base")), rows, all_captions(rows), settings(tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("moments-*"))


# --- a cache that cannot be written ----------------------------------------------------------------------------------

@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder refuse to be written, as a read-only mount does."""
    def lay(folder: Path) -> None:
        def refuse(path: Path) -> None:
            if path.is_relative_to(folder):
                raise OSError(errno.EROFS, "Read-only file system", str(path))

        def opened(path: Path, mode: str = "r", *arguments, open_=Path.open, **named) -> object:
            if mode not in ("r", "rb"):
                refuse(path)
            return open_(path, mode, *arguments, **named)

        monkeypatch.setattr(Path, "open", opened)
        for name in ("mkdir", "touch"):
            changed = getattr(Path, name)
            monkeypatch.setattr(Path, name,
                                lambda path, changed=changed, **named: (refuse(path), changed(path, **named)))

    return lay


def test_a_whole_cache_on_a_read_only_mount_will_do(bench: Path, tmp_path: Path, read_only: Callable[[Path], None],
                                                   encoded_keys: list[str]) -> None:
    encode(bench / "base", bench / "data", tmp_path / "cache")
    encoded_keys.clear()
    read_only(tmp_path / "cache")
    encoded, rows = encode(bench / "base", bench / "data", tmp_path / "cache")
    assert encoded_keys == [] and len(encoded.moments(torch.arange(len(rows)))) == len(rows)


def test_a_cache_that_lacks_something_and_cannot_be_written_is_refused_with_the_way_out(
        bench: Path, tmp_path: Path, read_only: Callable[[Path], None]) -> None:
    read_only(tmp_path / "cache")
    with pytest.raises(CacheError, match=r"--cache_dir .*/cache: cannot be written .* Name another folder"):
        encode(bench / "base", bench / "data", tmp_path / "cache")


# --- a cache from before ---------------------------------------------------------------------------------------------

CAPTION_KEYS = ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # no words
                "9e78b43ea00edcac8299e0cc8df7f6f913078171335f733a21d5d911b6999132",  # moon
                "54daaed5b6fe64a8a936186a962d53146e35e4f5157dfa07e378dda1fd7e1a98")  # moon, 4 strokes
PICTURE_KEY = "e3b3b6d6fea104167d9f3e6f6aaa039ce5bf43bd17fd16cfe77bcb77aa742764"


@pytest.mark.parametrize(("precision", "moments_folder", "embeds_folder", "embeds_dtype"), [
    ("no", "moments-80866faa0ee53286-32px-fp32-v2", "text-3f324c97570635ad-77-fp32-fp32-v2", torch.float32),
    ("fp16", "moments-80866faa0ee53286-32px-fp32-v2", "text-3f324c97570635ad-77-fp32-fp16-v2", torch.float16),
    ("bf16", "moments-80866faa0ee53286-32px-bf16-v2", "text-3f324c97570635ad-77-bf16-fp16-v2", torch.float16)])
def test_a_cache_from_before_is_found_again(precision: str, moments_folder: str, embeds_folder: str,
                                            embeds_dtype: torch.dtype, bench: Path, tmp_path: Path,
                                            encoded_keys: list[str]) -> None:
    """Literal names of folders and records: what changes them makes every user encode all again."""
    pipeline = load_pipeline(str(bench / "base"))
    for module in (pipeline.vae, pipeline.text_encoder):
        for tensor in module.state_dict().values():  # the same weights with any version of the libraries
            tensor.copy_((torch.arange(tensor.numel()) % 13 - 6).view(tensor.shape) / 64)
    (tmp_path / "moon.pgm").write_bytes(b"P5\n32 32\n255\n" + bytes(range(256)) * 4)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "moon.pgm", "text": "moon", "strokes": 4}\n')
    moments, embeds = tmp_path / "cache" / moments_folder, tmp_path / "cache" / embeds_folder
    for folder, keys, record in ((moments, [PICTURE_KEY], torch.full((2, 4, 16, 16), 7.0)),
                                 (embeds, CAPTION_KEYS, torch.full((77, 32), 3.0, dtype=embeds_dtype))):
        folder.mkdir(parents=True)
        (folder / "records.bin").write_bytes(record.numpy().tobytes() * len(keys))
        lines = [f"{number} {key} {zlib.crc32(record.numpy().tobytes()):08x}" for number, key in enumerate(keys)]
        (folder / "index.txt").write_text("".join(f"{line} {zlib.crc32(line.encode()):08x}\n" for line in lines))

    rows = read_dataset(tmp_path, progress=False)
    encoded = encode_rows(pipeline, rows, torch.ones((1, 1, 2), dtype=torch.bool),
                          settings(tmp_path / "cache", precision))
    assert encoded_keys == []
    row, yes, no = torch.tensor([0]), torch.tensor([True]), torch.tensor([False])
    assert encoded.moments(row).unique().tolist() == [7.0]
    assert encoded.prompt_embeds(row, row, yes, no).unique().tolist() == [3.0]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {moments_folder, embeds_folder, "lock"}


# --- room on the disk ------------------------------------------------------------------------------------------------

def test_what_the_cache_will_grow_by_is_told_before_it_grows(bench: Path, tmp_path: Path,
                                                             encoded_keys: list[str]) -> None:
    rows = read_dataset(bench / "data", progress=False)
    pipeline, told = load_pipeline(str(bench / "base")), []

    def check_room(missing: int) -> None:
        told.append((missing, len(encoded_keys)))

    for _ in range(2):
        encode_rows(pipeline, rows, all_captions(rows), settings(tmp_path), check_room)
    written = sum(path.stat().st_size for path in tmp_path.glob("*/records.bin"))
    assert told == [(written, 0), (0, len(encoded_keys))]


# --- a GPU's tables --------------------------------------------------------------------------------------------------

class StubTable:
    """A table of records that lies where it is told, as on a machine with a GPU: there it says `cuda:0`."""

    def __init__(self, nbytes: int = 0, device: str = "cpu") -> None:
        self.nbytes, self.device, self.looked_up = nbytes, torch.device(device), []

    def to(self, device: torch.device) -> StubTable:
        return StubTable(self.nbytes, f"{device.type}:0")

    def __getitem__(self, indices: str) -> torch.Tensor:
        self.looked_up.append(indices)
        return torch.zeros(2)


@pytest.mark.parametrize("named", ["cuda", "cuda:0"])
def test_a_table_on_the_gpu_is_looked_up_there_however_the_device_is_named(
        named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []

    def to_device(tensor: torch.Tensor, device: torch.device) -> str:
        assert tensor.dtype == torch.int64, "indices are moved, records are there"
        moved.append(device)
        return "indices on the GPU"

    monkeypatch.setattr(cache, "to_device", to_device)
    table = StubTable(device="cuda:0")
    encoded = EncodedRows(table, torch.arange(3), table, torch.zeros(3, 1, 2).long(), 0, torch.device(named))
    encoded.moments(torch.tensor([2]))
    assert moved == [torch.device(named)] and table.looked_up == ["indices on the GPU"]


@pytest.mark.parametrize(("budget", "devices"), [
    (120, ["cuda", "cuda"]), (119, ["cuda", "cpu"]), (99, ["cpu", "cuda"]), (19, ["cpu", "cpu"])])
def test_each_table_that_the_budget_has_room_for_lies_on_the_gpu(budget: int, devices: list[str]) -> None:
    tables = [StubTable(100), StubTable(20)]
    on_gpu = replace(settings(Path()), device=torch.device("cuda"), budget_bytes=budget)
    assert [table.device.type for table in cache._within_budget(tables, on_gpu)] == devices
    on_cpu = replace(on_gpu, device=CPU)
    assert all(table is before for table, before in zip(cache._within_budget(tables, on_cpu), tables, strict=True))


# --- two processes ---------------------------------------------------------------------------------------------------

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
