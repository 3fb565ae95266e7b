"""A model's own samples as training data: what is drawn, what is kept, and a run that was stopped."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import generate as generate_command
import self_training as self_training_command
from common.locks import locked
from dataset.captioned_folder import read_dataset
from generation import sampling
from generation.request import noise_seed
from recogniser.judge import Judge, Reading
from recogniser_fixtures import reading, save_judge
from scoring import self_training
from scoring.prompt_sets import Prompt, jouyou_strokes, pair_prompts, wild_prompts
from scoring.self_training_folder import LOG, choose_rows
from scoring.self_training_requests import (
    BAD,
    DOUBTFUL,
    GOOD,
    STROKE_COUNT_ERROR,
    SampleRequest,
    SelfTrainingConfig,
    choose_requests,
    vocabulary,
)

TOKENS = ("[CLS]", "the", "ferrari", "##ing", "cat", "a", "dog", "moon", "house", "x1", "ten")


def tokenizer(tokens: Sequence[str] = TOKENS) -> SimpleNamespace:
    return SimpleNamespace(get_vocab=lambda: {token: number for number, token in enumerate(tokens)})


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    return save_judge(tmp_path / "judge")


@pytest.fixture(autouse=True)
def pleased(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recogniser of random weights finds nothing; this one finds every third sample good."""
    def look(_judge: Judge, images: Sequence[object], _prompts: Sequence[str]) -> list[object]:
        return [reading("口十", 0.1 if number % 3 else 0.9, strokes=4.6) for number in range(len(images))]

    monkeypatch.setattr(Judge, "read", look)
    monkeypatch.setattr(SampleRequest, "verdict", lambda _order, seen, _least: GOOD if seen.is_well_formed else BAD)


def command(kanji: Path, base: Path, judge: Path, output: Path, *more: str) -> list[str]:
    return ["--model", str(base), "--train_data_dir", str(kanji), "--reward_model", str(judge), "--output", str(output),
            "--device", "cpu", "--steps", "2", "--words", "4", "--meanings", "12", "--pairs", "4", *more]


def test_what_is_kept_is_a_set_to_train_on_and_the_same_command_again_does_nothing(
        kanji: Path, base: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = command(kanji, base, judge, tmp_path / "own")
    assert self_training_command.main(flags) == 0
    rows, manifest = read_dataset(tmp_path / "own"), json.loads((tmp_path / "own" / "manifest.json").read_text())
    kept, negative = ([row for row in rows if row.metadata["kind"] == kind] for kind in ("sampled", "negative"))
    assert len(kept) == manifest["kept"] > 0 and len(negative) == manifest["negative"] > 0
    assert len(rows) == len(kept) + len(negative) < manifest["samples"]
    for name in ("samples", "kept", "negative"):
        assert sum(counts[name] for counts in manifest["kinds"].values()) == manifest[name]
    assert manifest["kinds"].keys() == {"meanings", "pairs"}  # this base's vocabulary has no whole words
    assert {row.strokes for row in kept} == {5} and {row.strokes for row in negative} == {None}
    assert len(list((tmp_path / "own").glob("*.png"))) == len(rows)
    assert "KanjiVG" in (tmp_path / "own" / "README.md").read_text()
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "own").glob("*.[jm]*"))

    monkeypatch.setattr(self_training, "draw", None)
    assert self_training_command.main(flags) == 0


def test_a_run_that_was_stopped_resumes_to_the_same_set(kanji: Path, base: Path, judge: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "batch_size_for", lambda _side: 6)
    assert self_training_command.main(command(kanji, base, judge, tmp_path / "whole")) == 0

    sample, batches = sampling.sample, []

    def once(*given: object, **named: object) -> object:
        if batches:
            raise OSError("the disk is full")
        batches.append(given)
        return sample(*given, **named)

    flags = command(kanji, base, judge, tmp_path / "own")
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "sample", once)
        assert self_training_command.main(flags) == 1
    assert not (tmp_path / "own").exists()
    log = tmp_path / ".own.part" / LOG
    log.write_text(log.read_text() + '{"kind": "wo')  # torn by a kill
    assert self_training_command.main(flags) == 0
    assert not log.parent.exists()
    for path in (tmp_path / "whole").iterdir():
        if path.name != "manifest.json":
            assert (tmp_path / "own" / path.name).read_bytes() == path.read_bytes()


def test_two_runs_never_draw_into_one_folder_at_once(kanji: Path, base: Path, judge: Path, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture) -> None:
    flags = command(kanji, base, judge, tmp_path / "own")
    with locked(tmp_path / ".own.part"):
        assert self_training_command.main(flags) == 1
        assert ".own.part: another run is at work there" in capsys.readouterr().err
        assert not list((tmp_path / ".own.part").iterdir())
    assert self_training_command.main(flags) == 0


def test_a_set_that_another_run_ends_meanwhile_is_taken_as_it_is(
        kanji: Path, base: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags, choose, other = command(kanji, base, judge, tmp_path / "own"), self_training.choose_requests, []

    def choose_slowly(*given: object) -> object:
        if not other:
            other.append(True)
            assert self_training_command.main(flags) == 0
            monkeypatch.setattr(self_training, "draw", None)
        return choose(*given)

    monkeypatch.setattr(self_training, "choose_requests", choose_slowly)
    assert self_training_command.main(flags) == 0
    assert not (tmp_path / ".own.part").exists()


def test_where_no_sample_is_good_enough_it_is_said_and_none_is_lost(
        kanji: Path, base: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(SampleRequest, "verdict", lambda _order, _seen, _least: BAD)
    assert self_training_command.main(command(kanji, base, judge, tmp_path / "own")) == 1
    assert "good enough" in capsys.readouterr().err
    assert len(list((tmp_path / ".own.part").glob("*.png"))) == 32 and not (tmp_path / "own").exists()


def test_no_prompt_of_the_score_is_drawn(kanji: Path, judge: Path) -> None:
    rows, held_out = read_dataset(kanji, progress=False), read_dataset(kanji, "test", progress=False)
    words = [*TOKENS, *(row.captions[0].split()[0] for row in held_out)]
    config = SelfTrainingConfig(reward_model=judge, train_data_dir=kanji, words=400, meanings=50, pairs=50,
                                samples_per_prompt=3)
    requests = choose_requests(config, tokenizer(words), rows, held_out)
    texts = {request.prompt.text for request in requests}
    scored = {prompt.text for prompt in pair_prompts(kanji, 100, 0)} | {row.captions[0] for row in held_out}
    assert {"cat", "house"} <= texts and not texts & scored
    modern = {word for prompt in wild_prompts(None) for word in re.findall("[a-z]+", prompt.text.lower())}
    assert "ferrari" in modern and not any(modern & set(request.prompt.text.split()) for request in requests
                                           if request.kind == "words")
    composed = {row.captions[0] for row in rows if row.is_composed}
    assert {request.prompt.text for request in requests if request.kind == "pairs"} == composed
    groups = {request.group: [other for other in requests if other.group == request.group] for request in requests}
    assert {len(group) for group in groups.values()} == {3}
    assert all(len({request.prompt for request in group}) == 1 and len({request.seed for request in group}) == 3
               for group in groups.values())
    assert requests == choose_requests(config, tokenizer(words), rows, held_out)
    assert 0.4 < sum(request.prompt.strokes is not None for request in requests) / len(requests) < 0.6
    everyday = sorted(jouyou_strokes(rows))
    most = {request.max_strokes for request in requests if request.kind == "words"}.pop()
    assert sum(strokes < most for strokes in everyday) <= 2 / 3 * len(everyday) <= sum(
        strokes <= most for strokes in everyday)
    assert {request.max_strokes for request in requests if request.kind != "words"} == {None}
    asked = [request.prompt.strokes for request in requests if request.kind == "words" and request.prompt.strokes]
    assert sum(asked) / len(asked) < 0.9 * sum(everyday) / len(everyday)


def test_a_good_sample_is_well_formed_shows_its_components_and_has_its_strokes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def verdict(prompt: Prompt, seen: Reading, least: float = 0.9, kind: str = "meanings") -> str:
        return SampleRequest(prompt, 0, 0, kind).verdict(seen, least)

    free, mouth, both = Prompt("cat"), Prompt("mouth", (frozenset("口"),)), Prompt("mouth ten", (frozenset("口十"),))
    assert verdict(free, reading("十二")) == GOOD
    assert verdict(free, reading("十二"), 0.95) == DOUBTFUL
    assert verdict(free, reading("十二", well_formed=0.4), 0.0) == BAD
    assert verdict(mouth, reading("口二")) == GOOD and verdict(mouth, reading("十二")) == BAD
    assert verdict(both, reading("口十"), kind="pairs") == GOOD and verdict(both, reading("口二"), kind="pairs") == BAD
    six = replace(free, strokes=6)
    assert verdict(six, reading(strokes=5.0)) == GOOD and verdict(six, reading(strokes=8.0)) == STROKE_COUNT_ERROR
    assert verdict(six, reading(strokes=8.0), 0.95) == BAD
    plain = SampleRequest(free, 0, 0, "words", max_strokes=6)
    assert plain.verdict(reading(strokes=6.0), 0.9) == GOOD
    assert plain.verdict(reading(strokes=7.0), 0.9) == STROKE_COUNT_ERROR
    assert replace(plain, prompt=replace(free, strokes=9)).verdict(reading(strokes=9.0), 0.9) == GOOD


def test_of_a_prompt_with_good_samples_the_clear_failures_are_negative() -> None:
    def kinds(*verdicts: str) -> list[str | None]:
        lines = [{"group": 7, "verdict": verdict, "file_name": f"{number}.png", "text": "cat",
                  "asked": "cat, 5 strokes", "strokes": 8, "seed": number, "command": "..."}
                 for number, verdict in enumerate(verdicts)]
        other = {**lines[0], "group": 8, "verdict": GOOD}  # of another prompt: it changes nothing
        return [row and row["kind"] for row in choose_rows([*lines, other])[:-1]]

    assert kinds(GOOD, BAD, STROKE_COUNT_ERROR, DOUBTFUL) == ["sampled", "negative", "negative", None]
    assert kinds(STROKE_COUNT_ERROR, BAD, DOUBTFUL) == ["sampled", None, None]
    assert kinds(GOOD, GOOD, BAD) == ["sampled", "sampled", "negative"]
    assert kinds(GOOD, DOUBTFUL, GOOD) == ["sampled", None, None]
    kept, negative = choose_rows([
        {"group": 1, "verdict": verdict, "file_name": "1.png", "text": "cat", "asked": "cat, 5 strokes", "strokes": 8,
         "seed": 3, "command": "..."} for verdict in (GOOD, BAD)])
    assert (kept["text"], kept["strokes"]) == ("cat", 8)
    assert (negative["text"], negative["strokes"]) == ("cat, 5 strokes", None)


def test_a_run_has_small_seeds_that_no_two_samples_of_a_prompt_share(kanji: Path, judge: Path) -> None:
    """Also where a prompt comes twice; another run's samples of it are others, and generate.py's the same."""
    rows, held_out = read_dataset(kanji, progress=False), read_dataset(kanji, "test", progress=False)
    seeds = {}
    for seed in (0, 3):
        config = SelfTrainingConfig(reward_model=judge, train_data_dir=kanji, words=20, meanings=60, pairs=60,
                                    seed=seed)
        requests = choose_requests(config, tokenizer(), rows, held_out)
        for text in {request.prompt.text for request in requests}:
            found = [request.seed for request in requests if request.prompt.text == text]
            assert found == list(range(seed * 1000, seed * 1000 + len(found))) and len(found) >= 2
        seeds[seed] = {(request.prompt.text, request.seed) for request in requests}
        assert all(request.image.noise_seed == noise_seed(request.seed, request.prompt.text) for request in requests)
    assert max(len([one for one in seeds[0] if one[0] == text]) for text, _ in seeds[0]) > 2
    assert not seeds[0] & seeds[3]


def test_the_command_of_a_row_draws_its_sample_again(kanji: Path, base: Path, judge: Path, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base.parent)
    monkeypatch.setattr(self_training, "autocast", lambda _device: nullcontext())  # what generate.py computes in
    assert self_training_command.main([*command(kanji, base, judge, tmp_path / "own"), "--model", base.name]) == 0
    rows = [json.loads(line) for line in (tmp_path / "own" / "metadata.jsonl").read_text().splitlines()]
    for kind in ("sampled", "negative"):
        row, folder = next(row for row in rows if row["kind"] == kind), tmp_path / kind
        assert generate_command.main([*shlex.split(row["command"])[2:], "--output", str(folder)]) == 0
        again, = folder.glob("*[0-9].png")
        pixels = [np.asarray(Image.open(path), dtype=int) for path in (again, tmp_path / "own" / row["file_name"])]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1  # grey levels of 255: another batch's rounding


def test_old_flags_are_answered_with_their_new_names(capsys: pytest.CaptureFixture) -> None:
    for old, new in (("recogniser", "reward_model"), ("drawings", "samples_per_prompt"),
                     ("least_well_formed", "min_well_formed"), ("guided_share", "guided_fraction")):
        with pytest.raises(SystemExit) as leaving:
            self_training_command.main([f"--{old}", "1"])
        assert leaving.value.code == 2
        assert capsys.readouterr().err.endswith(f": error: --{old} is called --{new} now\n")


def test_words_come_from_either_kind_of_vocabulary() -> None:
    assert vocabulary(tokenizer()) == ["the", "ferrari", "cat", "dog", "moon", "house", "ten"]
    assert vocabulary(tokenizer(("moo", "moon</w>", "a</w>", "!</w>"))) == ["moon"]


@pytest.mark.parametrize(("harm", "words"), [
    ("other settings", "settings (--seed: was 0, is 5)"), ("something else", "no set of samples"),
    ("no recogniser", "the judge cannot be loaded")])
def test_what_cannot_be_drawn_is_said_and_nothing_is_touched(
        harm: str, words: str, kanji: Path, base: Path, judge: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture) -> None:
    flags = command(kanji, base, judge, tmp_path / "own")
    if harm == "other settings":
        assert self_training_command.main(flags) == 0
        flags += ["--seed", "5"]
    if harm == "something else":
        (tmp_path / "own").mkdir()
    if harm == "no recogniser":
        flags = command(kanji, base, tmp_path / "none", tmp_path / "own")
    before = sorted(tmp_path.rglob("*"))
    assert self_training_command.main(flags) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and words in message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_count_below_zero_is_refused(capsys: pytest.CaptureFixture) -> None:
    for flags in (["--words", "-1"], ["--samples_per_prompt", "0"],
                  ["--words", "0", "--meanings", "0", "--pairs", "0"]):
        with pytest.raises(SystemExit) as leaving:
            self_training_command.main(["--reward_model", "x", *flags])
        assert leaving.value.code == 2
