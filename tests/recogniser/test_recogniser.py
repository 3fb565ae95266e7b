"""The recogniser: its labels, its batches, its training and its folder of weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import train_recogniser as train_recogniser_command
from common.stop_signals import Stopped, StopSignals
from dataset.captioned_folder import read_dataset
from dataset.rows import Row
from recogniser import training
from recogniser.augmentations import BREAKERS, as_sampled, is_symmetric, mirror, shuffle_patches, synthetic_pair
from recogniser.config import KINDS, RecogniserConfig
from recogniser.figures import Thresholds
from recogniser.labels import NONE, SLOTS, Vocabulary, slot_classes, true_components
from recogniser.network import WEIGHTS, Recogniser, RecogniserError, load_recogniser, save_recogniser, to_ink
from recogniser.senses import Sense, asked_first
from recogniser.splits import Splits, is_calibration
from recogniser.training_batches import GlyphBatches, read_glyphs
from recogniser_fixtures import SMALL, glyph, save_kanji_set, vocabulary


@pytest.fixture(scope="module")
def kanji(tmp_path_factory):
    return save_kanji_set(tmp_path_factory.mktemp("kanji") / "set")


@pytest.fixture
def ink():
    return to_ink([glyph({"left": "口", "right": "人"}), glyph({"top": "二", "bottom": "十"}), glyph({"whole": "人"}),
                   glyph({"left": "十", "right": "口"})])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def row(literal, *components, captions=("word",)):
    """A row of the train split; components: (element, meaning form, meaning)."""
    described = [{"element": element, "original": original, "meaning": meaning, "position": "left"}
                 for element, original, meaning in components]
    return Row(Path(f"{literal}.png"), "", captions, {"literal": literal, "kind": "real", "components": described})


def component(element, position):
    return {"element": element, "original": element, "meaning": "", "position": position}


def test_a_component_is_asked_for_in_its_slot_and_an_unknown_one_is_not():
    classes = slot_classes([component("口", "left"), component("龍", "right/top")], None, vocabulary().classes())
    assert classes[SLOTS.index("left")] == [1, 1]
    assert classes[SLOTS.index("right/top")] == [-1, -1]
    assert classes[SLOTS.index("bottom")] == [NONE, NONE]


def test_two_components_of_one_slot_are_both_asked_for():
    classes = slot_classes([component("口", "top"), component("十", "top")], None, vocabulary().classes())
    assert classes[SLOTS.index("top")] == [1, 2]


def test_a_character_that_is_a_component_is_learned_from_its_own_picture():
    whole = slot_classes([component("二", "top"), component("十", "bottom")], "口", vocabulary().classes())
    assert whole[SLOTS.index("whole")] == [1, 1]


def test_components_too_deep_to_be_asked_for_still_count_as_true():
    assert true_components([component("口", "right/top/left")]) == {("right/top/left", "口")}


def test_the_vocabulary_leaves_out_what_is_seen_once_and_takes_the_commonest_meaning():
    rows = [*(row("回", ("口", "口", meaning)) for meaning in "aab"), row("吉", ("士", "士", "gentleman"))]
    found = Vocabulary.of(rows)
    assert found.elements == ("口",)
    assert found.originals == ("口",) and found.meanings == ("a",)


def test_a_component_has_the_senses_that_the_rows_give_it_and_all_the_meanings_of_its_meaning_form():
    rows = [row("月", ("月", "月", "month"), captions=("month", "moon")), row("明", ("月", "月", "month")),
            *(row("肌", ("月", "肉", "meat")) for _ in range(3)), row("愛", ("月", "爪", "claw"))]
    assert Vocabulary.of(rows).senses == ((Sense("肉", ("meat",)), Sense("月", ("month", "moon"))),)


def test_the_sense_that_was_asked_for_comes_first_by_the_meaning_that_was_asked_for():
    senses = (Sense("肉", ("meat",)), Sense("月", ("month", "moon")), Sense("夕", ("evening", "evening star")))
    for words, expected in {"meat": ["meat", "month", "evening"], "Full Moon": ["moon", "meat", "evening"],
                            "moonlight": ["meat", "month", "evening"], "": ["meat", "month", "evening"],
                            "evening star moon": ["evening star", "moon", "meat"]}.items():
        assert [sense.meaning for sense in asked_first(senses, words)] == expected


def test_the_vocabulary_is_read_back_as_it_was_written(tmp_path):
    vocabulary().save(tmp_path / "labels.json")
    assert Vocabulary.load(tmp_path / "labels.json") == vocabulary()


def test_labels_of_one_sense_each_are_still_read(tmp_path):
    stored = {"elements": ["口", "人"], "originals": ["口", "人"], "meanings": ["mouth", ""]}
    (tmp_path / "labels.json").write_text(json.dumps(stored), encoding="utf8")
    found = Vocabulary.load(tmp_path / "labels.json")
    assert found == Vocabulary(("口", "人"), ((Sense("口", ("mouth",)),), (Sense("人", ()),)))


def test_a_distortion_of_no_strength_leaves_a_glyph_readable_as_it_is(ink):
    assert (as_sampled(ink, rng(), strength=0.0) - ink).abs().max() < 1e-4


@pytest.mark.parametrize("kind", BREAKERS)
def test_a_broken_glyph_is_another_picture_of_the_same_size_and_range(kind, ink):
    broken = BREAKERS[kind](ink, rng())
    assert broken.shape == ink.shape
    assert broken.min() >= 0.0 and broken.max() <= 1.0 + 1e-6
    assert ((broken - ink).abs().flatten(1).sum(1) > 10).all()


def test_dropped_strokes_take_ink_away_and_add_none(ink):
    broken = BREAKERS["strokes dropped"](ink, rng())
    assert (broken <= ink + 1e-6).all()
    assert (broken.flatten(1).sum(1) < 0.9 * ink.flatten(1).sum(1)).all()


def test_no_shuffled_patch_stays_in_its_place():
    numbered = torch.arange(16.0).reshape(1, 1, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3) / 16
    for seed in range(12):
        cells = shuffle_patches(numbered, rng(seed))
        assert not torch.equal(cells, numbered)


def test_a_glyph_that_is_its_own_mirror_image_loses_strokes_instead():
    twins = to_ink([glyph({"whole": "口"})])
    assert is_symmetric(twins).all()
    assert mirror(twins, rng()).sum() < 0.9 * twins.sum()


def test_synthetic_pairs_keep_their_sides():
    first, second = to_ink([glyph({"whole": "口"})]), torch.zeros(1, 1, 64, 64)
    across = synthetic_pair(first, second, torch.tensor([True]), torch.tensor([0.5]))
    assert across[..., :32].sum() > 20 and across[..., 33:].sum() < 1e-3
    down = synthetic_pair(second, first, torch.tensor([False]), torch.tensor([0.5]))
    assert down[..., 33:, :].sum() > 20 and down[..., :31, :].sum() < 1e-3


def test_a_batch_is_a_function_of_seed_and_step(kanji):
    rows = read_dataset(kanji, progress=False)
    batches = [GlyphBatches(read_glyphs(rows, vocabulary()), 32, seed, 100) for seed in (0, 0, 1)]
    assert torch.equal(batches[0][7].ink, batches[1][7].ink)
    assert not torch.equal(batches[0][7].ink, batches[0][8].ink)
    assert not torch.equal(batches[0][7].ink, batches[2][7].ink)


def test_a_batch_asks_nothing_of_broken_glyphs_but_whether_they_are_well_formed(kanji):
    batch = GlyphBatches(read_glyphs(read_dataset(kanji, progress=False), vocabulary()), 32, 0, 100)[0]
    broken = batch.well_formed == 0
    assert broken.sum() == 7  # of 32
    assert (batch.slots[broken] == -1).all() and (batch.strokes[broken] == 0).all()
    assert (batch.identity[batch.well_formed == -1] == -1).all()


def test_a_synthetic_pair_asks_of_a_slot_for_the_component_its_two_components_or_nothing(kanji):
    glyphs = read_glyphs(read_dataset(kanji, progress=False), vocabulary())
    batches = GlyphBatches(glyphs, 32, 0, 100)
    component_itself = int((glyphs.own == 2).nonzero()[0])  # 十
    top, bottom, left, right = (SLOTS.index(slot) for slot in ("top", "bottom", "left", "right"))
    filled = glyphs.slots[..., 0] != NONE
    stacked = int((filled[:, top] & filled[:, bottom]).nonzero()[0])
    beside = int((filled[:, left] & filled[:, right]).nonzero()[0])
    slots = torch.full((3, len(SLOTS), 2), NONE)
    batches._label(slots, torch.arange(3), right, torch.tensor([component_itself, stacked, beside]))
    upper = SLOTS.index("right/top")
    assert slots[0, right].tolist() == [2, 2] and slots[0, upper].tolist() == [NONE, NONE]
    assert slots[1, right].tolist() == [NONE, NONE] and torch.equal(slots[1, upper], glyphs.slots[stacked, top])
    assert slots[2, right].tolist() == [-1, -1] and slots[2, upper].tolist() == [-1, -1]
    assert (slots[:, left] == NONE).all()


def test_weights_are_read_back_as_they_were_written_but_for_half_precision(tmp_path, ink):
    network = Recogniser(SMALL, 4).eval()
    save_recogniser(tmp_path, network, vocabulary(), {"note": "x"})
    again, labels, metadata = load_recogniser(tmp_path)
    assert labels == vocabulary() and metadata["note"] == "x"
    with torch.no_grad():
        assert (again(ink).components - network(ink).components).abs().max() < 0.05


@pytest.mark.parametrize("harm", ["missing", "cut", "foreign"])
def test_a_folder_that_is_not_whole_is_refused_with_the_way_out(tmp_path, harm):
    if harm != "missing":
        save_recogniser(tmp_path, Recogniser(SMALL, 4), vocabulary(), {})
        if harm == "cut":
            (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:1000])
        else:
            (tmp_path / "labels.json").write_text(json.dumps({"elements": ["口"]}))
    with pytest.raises(RecogniserError, match=r"train_recogniser\.py"):
        load_recogniser(tmp_path)


def test_whole_counts_only_where_nothing_else_stands():
    network = Recogniser(SMALL, 4).eval()
    with torch.no_grad():
        output = network(torch.zeros(1, 1, 64, 64))
    output.components[:] = -20.0
    output.components[..., NONE] = 0.0
    output.components[0, SLOTS.index("whole"), 2] = 20.0
    assert [part[:2] for part in output.found(0.5)[0]] == [(SLOTS.index("whole"), 2)]
    output.components[0, SLOTS.index("left"), 1] = 20.0
    assert [part[:2] for part in output.found(0.5)[0]] == [(SLOTS.index("left"), 1)]


def settings(kanji, output, **changes):
    values = {"train_data_dir": kanji, "output_dir": output, "steps": 6, "batch_size": 16, "checkpointing_steps": 2,
              "vae": kanji / "none"} | changes
    return RecogniserConfig(**values)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(KINDS, "judge", SMALL)


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(kanji, tmp_path, small, monkeypatch):
    rows = read_dataset(kanji, progress=False)
    splits = Splits(rows, rows, [], [])
    whole, _ = training.train(splits, settings(kanji, tmp_path / "whole"), StopSignals())

    class StopsAt3(StopSignals):
        def check(self):
            if (tmp_path / "cut" / "checkpoint-000002").is_dir():
                raise Stopped(15)

    config = settings(kanji, tmp_path / "cut")
    with pytest.raises(Stopped):
        training.train(splits, config, StopsAt3())
    resumed, _ = training.train(splits, config, StopSignals())
    assert all(torch.equal(one, other) for one, other in
               zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))


def test_a_run_folder_of_other_settings_is_refused(kanji, tmp_path, small, capsys):
    command = ["--train_data_dir", str(kanji), "--output_dir", str(tmp_path / "run"), "--steps", "2", "--batch_size",
               "16", "--vae", str(kanji / "none")]
    assert train_recogniser_command.main(command) == 0
    assert (tmp_path / "run" / "weights" / WEIGHTS).is_file()
    assert train_recogniser_command.main([*command, "--seed", "1"]) == 1
    assert "other settings" in capsys.readouterr().err


def test_calibration_characters_are_few_and_always_the_same(kanji):
    rows = read_dataset(kanji, progress=False)
    kept = [is_calibration(row) for row in rows]
    assert kept == [is_calibration(row) for row in rows]
    assert not any(keep for keep, row in zip(kept, rows, strict=True) if row.is_composed)


@pytest.mark.slow
def test_it_learns_which_component_stands_where(kanji, tmp_path, small):
    rows = read_dataset(kanji, progress=False)
    config = settings(kanji, tmp_path / "run", steps=250, batch_size=48, checkpointing_steps=250, learning_rate=5e-3)
    network, known = training.train(Splits(rows, rows, [], []), config, StopSignals())
    held_out = read_dataset(kanji, "test", progress=False)
    glyphs = read_glyphs(held_out, known)
    with torch.no_grad():
        found = network(glyphs.ink(torch.arange(len(held_out)))).found(0.4)
    right = [{(SLOTS[slot], known.elements[kind - 1]) for slot, kind, _ in components}
             == true_components(row.metadata["components"]) for components, row in zip(found, held_out, strict=True)]
    assert sum(right) >= 0.7 * len(right)


def test_an_old_flag_is_answered_with_its_new_name_in_one_line(capsys):
    with pytest.raises(SystemExit) as leaving:
        train_recogniser_command.main(["--redrawn", "1200"])
    assert leaving.value.code == 2
    assert capsys.readouterr().err.endswith(": error: --redrawn is called --vae_reconstructed now\n")


@pytest.mark.parametrize(("flag", "value"), [("steps", 0), ("batch_size", 15), ("vae_reconstructed", -1),
                                             ("checkpointing_steps", 0)])
def test_values_out_of_range_name_their_flag(flag, value):
    with pytest.raises(ValueError, match=f"--{flag} {value}"):
        RecogniserConfig(**{flag: value})


def test_a_recogniser_of_before_the_thresholds_were_renamed_is_still_read():
    assert Thresholds.of({"part": 0.3, "well_formed": 0.9, "copy": 0.8}) == Thresholds(0.3, 0.9, 0.8)
