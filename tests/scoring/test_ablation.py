"""The first exercise's recipe, mended one change at a time: its data, its arms, its table."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ablation as ablation_command
from common.settings import as_json
from common.stop_signals import Stopped
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.sampling_weights import row_weights
from recogniser_fixtures import save_judge, save_kanji_set
from scoring import ablation, benchmark
from trainer import run
from training_fixtures import forked


@pytest.fixture
def small(base, tmp_path, monkeypatch):
    """Arms of 32 px on a random base, sampled in two steps and judged by random judges."""
    monkeypatch.setattr(benchmark, "JUDGE", save_judge(tmp_path / "judge"))
    monkeypatch.setattr(benchmark, "CONTROL", tmp_path / "no control judge")
    monkeypatch.setattr(ablation, "RECIPE", replace(
        ablation.RECIPE, resolution=32, mixed_precision="no", num_inference_steps=2, validation_prompts=("moon",)))
    monkeypatch.setattr(ablation, "base_folder", lambda _: base)
    for kind in ("EvaluateConfig", "GenerateConfig"):
        made = getattr(ablation, kind)
        monkeypatch.setattr(ablation, kind, lambda made=made, **settings: made(**settings, steps=2))


def command(kanji, output, *more):
    return ["--train_data_dir", str(kanji), "--output_dir", str(output), "--cache_dir", str(output.parent / "cache"),
            "--steps", "2", "--train_batch_size", "4", "--pairs", "2", "--heldout", "3", "--wild", "2", "--budget", "2",
            "--device", "cpu", *more]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_mirrored_folder_has_each_real_picture_and_its_mirror_image(kanji, tmp_path):
    ablation.lay_datasets(kanji, tmp_path)
    real = [row for row in read_dataset(kanji, progress=False) if not row.is_composed]
    rows = read_dataset(tmp_path / ablation.MIRRORED, caption_column=ablation.JOINED, progress=False)
    assert [row.path.name for row in rows] == [
        name for row in real for name in (row.path.name, f"mirrored-{row.path.name}")]
    for source, as_it_is, mirrored in zip(real, rows[::2], rows[1::2], strict=True):
        assert np.array_equal(pixels(as_it_is.path), pixels(source.path))
        assert np.array_equal(pixels(mirrored.path), pixels(source.path)[:, ::-1])
        assert as_it_is.captions == mirrored.captions and as_it_is.metadata == mirrored.metadata


def test_all_meanings_of_a_kanji_are_joined_in_one_caption_and_still_there_one_by_one(tmp_path):
    source = save_kanji_set(tmp_path / "set")
    metadata = source / "train" / "metadata.jsonl"
    lines = [json.loads(line) for line in metadata.read_text(encoding="utf8").splitlines()]
    lines[0]["captions"] = ["mouth", "opening"]
    metadata.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf8")
    ablation.lay_datasets(source, tmp_path)
    joined, alone = (read_dataset(tmp_path / ablation.PLAIN, caption_column=column, progress=False)
                     for column in (ablation.JOINED, "captions"))
    assert len(joined) == len(lines)
    assert joined[0].captions == ("mouth, opening",) and alone[0].captions == ("mouth", "opening")


def test_a_dataset_folder_is_whole_or_not_there(kanji, tmp_path, monkeypatch):
    written = []

    def stop_at_the_fifth(image):
        written.append(image)
        if len(written) == 5:
            raise Stopped(15)
        return image

    monkeypatch.setattr(ablation.ImageOps, "mirror", stop_at_the_fifth)
    with pytest.raises(Stopped):
        ablation.lay_datasets(kanji, tmp_path)
    assert not list((tmp_path / ablation.MIRRORED).parent.iterdir())
    monkeypatch.undo()
    ablation.lay_datasets(kanji, tmp_path)
    assert {path.name for path in (tmp_path / ablation.MIRRORED).parent.iterdir()} == {"mirrored", "plain"}


def test_dataset_folders_are_kept_until_the_source_changes(tmp_path):
    source = save_kanji_set(tmp_path / "set")
    ablation.lay_datasets(source, tmp_path)
    inodes = [(tmp_path / folder / "train").stat().st_ino for folder in (ablation.MIRRORED, ablation.PLAIN)]
    ablation.lay_datasets(source, tmp_path)
    assert inodes == [(tmp_path / folder / "train").stat().st_ino for folder in (ablation.MIRRORED, ablation.PLAIN)]
    metadata = source / "train" / "metadata.jsonl"
    metadata.write_text(metadata.read_text(encoding="utf8").replace("mouth", "gate"), encoding="utf8")
    ablation.lay_datasets(source, tmp_path)
    assert "gate" in read_dataset(tmp_path / ablation.PLAIN, progress=False)[0].captions[0]


def test_each_arm_differs_from_the_one_before_in_what_it_says_and_nothing_else():
    arms = [as_json(arm) for arm in ablation.arm_settings(ablation.AblationConfig()).values()]
    changed = [{name for name in after if after[name] != before[name]} - {"output_dir"}
               for before, after in itertools.pairwise(arms)]
    assert changed == [{"train_data_dir"}, {"caption_column"}, {"composed_fraction"},
                       {"stroke_tag_fraction", "frequent_kanji_weight"}]
    first, *_, last = arms
    assert (first["composed_fraction"], first["stroke_tag_fraction"], first["frequent_kanji_weight"]) == (0.0, 0.0, 1.0)
    recipe = as_json(ablation.BaseConfig().words)
    assert all(last[name] == recipe[name]
               for name in ("composed_fraction", "stroke_tag_fraction", "frequent_kanji_weight"))


def test_until_the_last_arm_real_kanji_are_trained_on_evenly_and_composed_ones_only_when_it_says_so(kanji):
    rows = read_dataset(kanji, progress=False)
    composed = np.array([row.is_composed for row in rows])
    fractions = []
    for arm in ablation.arm_settings(ablation.AblationConfig()).values():
        weights = row_weights(rows, arm.composed_fraction, arm.frequent_kanji_weight).numpy()
        fractions.append(weights[composed].sum() / weights.sum())
        if arm.frequent_kanji_weight == 1.0:
            assert len(set(weights[~composed])) == 1
    assert fractions[:3] == pytest.approx([0.0] * 3, abs=1e-9) and fractions[3:] == pytest.approx(
        [ablation.RECIPE.composed_fraction] * 2)


def test_all_arms_begin_from_the_same_untrained_weights(tmp_path):
    ablation.lay_untrained_base(tmp_path / "one", 0)
    ablation.lay_untrained_base(tmp_path / "two", 0)
    files = [Path("unet") / "diffusion_pytorch_model.safetensors", Path("vae") / "diffusion_pytorch_model.safetensors"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
    assert (tmp_path / "one" / files[1]).read_bytes() == (ablation.TINY_DIR / files[1]).read_bytes()
    scheduler = json.loads((tmp_path / "one" / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction" and scheduler["rescale_betas_zero_snr"]


def test_a_run_makes_the_table_with_all_arms_and_the_same_command_trains_nothing_again(
        kanji, small, tmp_path, monkeypatch, capsys):
    output = tmp_path / "run"
    assert ablation_command.main(command(kanji, output)) == 0
    shown = capsys.readouterr().out
    page = (output / "ablation.md").read_text(encoding="utf8")
    rows = [line for line in page.splitlines() if re.match(r"\| \d ", line)]
    assert [re.split(r" *\| ", row)[1] for row in rows] == [
        f"{number} {name}" for number, name in enumerate(ablation.CHANGES, 1)]
    assert len({len(row) for row in rows}) == 1 and all(row in shown for row in rows)
    assert ["–" in row for row in rows] == [True, True, True, True, False]
    results = json.loads((output / "ablation.json").read_text(encoding="utf8"))
    assert list(results["arms"]) == list(ablation.CHANGES)
    assert all(set(arm["report"]["sets"]) >= {"pairs", "heldout", "wild"} for arm in results["arms"].values())
    assert str(tmp_path) not in (output / "ablation.json").read_text(encoding="utf8")
    with Image.open(output / "ablation.png") as grid:
        assert grid.width > 8 * 32 and grid.height > 5 * 32

    def refuse(*_, **__):
        raise AssertionError("this is finished")

    monkeypatch.setattr(run, "TrainingRun", refuse)
    for name in ("prepare", "score", "draw_to_folder", "lay_datasets"):
        monkeypatch.setattr(ablation, name, refuse)
    assert ablation_command.main(command(kanji, output)) == 0
    assert json.loads((output / "ablation.json").read_text(encoding="utf8")) == results
    with pytest.raises(AssertionError):  # other prompts: scored again, and not trained again
        ablation_command.main(command(kanji, output, "--pairs", "3"))


def test_stopped_in_an_arm_it_exits_as_the_trainer_does_and_resumes_from_there(kanji, small, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "CHANGES", dict(itertools.islice(ablation.CHANGES.items(), 2)))
    output = tmp_path / "run"
    update = run.TrainingRun.train_step

    def stopping(run, batches):
        os.kill(os.getpid(), signal.SIGTERM)
        return update(run, batches)

    def work():
        run.TrainingRun.train_step = stopping
        raise SystemExit(ablation_command.main(command(kanji, output)))

    ended = forked(work, tmp_path / "said")
    assert ended.status == 143 and "the same command resumes from here" in ended.output
    assert [path.name for path in (output / "1-first-exercise").glob("checkpoint-*")] == ["checkpoint-000001"]
    ended = forked(lambda: ablation_command.main(command(kanji, output)), tmp_path / "said")
    assert ended.status == 0 and "resuming from" in ended.output and (output / "ablation.md").exists()


@pytest.mark.parametrize(("harm", "words"), [
    ("data", r"dataExtraction/main\.py"), ("pairs", "heldout_pairs"), ("output", "something else than a run")])
def test_what_is_missing_is_said_before_anything_is_trained(harm, words, kanji, small, tmp_path, capsys):
    output = tmp_path / "run"
    if harm == "data":
        kanji = tmp_path / "none"
    if harm == "pairs":
        kanji = save_kanji_set(tmp_path / "kanji")
        (kanji / "heldout_pairs.jsonl").unlink()
    if harm == "output":
        output.mkdir()
        (output / "diary.txt").write_text("mine")
    assert ablation_command.main(command(kanji, output)) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and re.search(words, message)
    assert not (output / "1-first-exercise").exists()


@pytest.mark.parametrize("flags", [["--steps", "0"], ["--pairs", "1"], ["--learning_rate", "0"], ["--device", "tpu"]])
def test_a_setting_out_of_range_is_refused(flags, capsys):
    with pytest.raises(SystemExit) as leaving:
        ablation_command.main(flags)
    assert leaving.value.code == 2


def test_a_broken_source_is_listed_as_the_trainer_lists_it(tmp_path):
    source = save_kanji_set(tmp_path / "set")
    next((source / "train").glob("*.png")).write_bytes(b"no image")
    with pytest.raises(DatasetError, match="no whole picture"):
        ablation.lay_datasets(source, tmp_path)
