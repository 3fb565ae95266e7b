"""A model's own drawings as training data: what is drawn, what is kept, and a run that was stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import self_training as self_training_command
from dataset.captioned_folder import read_dataset
from generation import settings
from recogniser.judge import Judge, Reading
from recogniser_fixtures import reading, save_judge
from scoring import self_training
from scoring.prompt_sets import Prompt, jouyou_strokes, pair_prompts, wild_prompts
from scoring.self_training import (
    BAD,
    DOUBTFUL,
    GOOD,
    OFF,
    SampleRequest,
    SelfTrainingConfig,
    choose,
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
    """A recogniser of random weights finds nothing; this one finds every third drawing good."""
    def look(_judge: Judge, pictures: Sequence[object], _prompts: Sequence[str]) -> list[object]:
        return [reading("口十", 0.1 if number % 3 else 0.9, strokes=4.6) for number in range(len(pictures))]

    monkeypatch.setattr(Judge, "read", look)
    monkeypatch.setattr(SampleRequest, "verdict", lambda _order, seen, _least: GOOD if seen.is_well_formed else BAD)


def command(kanji: Path, base: Path, judge: Path, output: Path, *more: str) -> list[str]:
    return ["--model", str(base), "--train_data_dir", str(kanji), "--recogniser", str(judge), "--output", str(output),
            "--device", "cpu", "--steps", "2", "--words", "4", "--meanings", "12", "--pairs", "4", *more]


def test_what_is_kept_is_a_set_to_train_on_and_the_same_command_again_does_nothing(
        kanji: Path, base: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = command(kanji, base, judge, tmp_path / "own")
    assert self_training_command.main(flags) == 0
    rows, manifest = read_dataset(tmp_path / "own"), json.loads((tmp_path / "own" / "manifest.json").read_text())
    kept, rejected = ([row for row in rows if row.metadata["kind"] == kind] for kind in ("drawn", "rejected"))
    assert len(kept) == manifest["kept"] > 0 and len(rejected) == manifest["rejected"] > 0
    assert len(rows) == len(kept) + len(rejected) < manifest["drawn"]
    for name in ("drawn", "kept", "rejected"):
        assert sum(counts[name] for counts in manifest["kinds"].values()) == manifest[name]
    assert manifest["kinds"].keys() == {"meanings", "pairs"}  # this base's vocabulary has no whole words
    assert {row.strokes for row in kept} == {5} and {row.strokes for row in rejected} == {None}
    assert len(list((tmp_path / "own").glob("*.png"))) == len(rows)
    assert "KanjiVG" in (tmp_path / "own" / "README.md").read_text()

    monkeypatch.setattr(SelfTrainingConfig, "draw", None)
    assert self_training_command.main(flags) == 0


def test_a_run_that_was_stopped_goes_on_to_the_same_set(kanji: Path, base: Path, judge: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "batch_size_for", lambda _side: 6)
    assert self_training_command.main(command(kanji, base, judge, tmp_path / "whole")) == 0

    sample, batches = settings.sample, []

    def once(*given: object, **named: object) -> object:
        if batches:
            raise OSError("the disk is full")
        batches.append(given)
        return sample(*given, **named)

    flags = command(kanji, base, judge, tmp_path / "own")
    with monkeypatch.context() as patch:
        patch.setattr(settings, "sample", once)
        assert self_training_command.main(flags) == 1
    assert not (tmp_path / "own").exists()
    log = tmp_path / ".own.part" / self_training.DRAWN
    log.write_text(log.read_text() + '{"kind": "wo')  # torn by a kill
    assert self_training_command.main(flags) == 0
    assert not log.parent.exists()
    for path in (tmp_path / "whole").iterdir():
        if path.name != "manifest.json":
            assert (tmp_path / "own" / path.name).read_bytes() == path.read_bytes()


def test_where_no_drawing_is_good_enough_it_is_said_and_none_is_lost(
        kanji: Path, base: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(SampleRequest, "verdict", lambda _order, _seen, _least: BAD)
    assert self_training_command.main(command(kanji, base, judge, tmp_path / "own")) == 1
    assert "good enough" in capsys.readouterr().err
    assert len(list((tmp_path / ".own.part").glob("*.png"))) == 32 and not (tmp_path / "own").exists()


def test_no_prompt_of_the_score_is_drawn(kanji: Path, judge: Path) -> None:
    rows, held_out = read_dataset(kanji, progress=False), read_dataset(kanji, "test", progress=False)
    words = [*TOKENS, *(row.captions[0].split()[0] for row in held_out)]
    config = SelfTrainingConfig(recogniser=judge, train_data_dir=kanji, words=400, meanings=50, pairs=50, drawings=3)
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
    most = {request.most_strokes for request in requests if request.kind == "words"}.pop()
    assert sum(strokes < most for strokes in everyday) <= 2 / 3 * len(everyday) <= sum(
        strokes <= most for strokes in everyday)
    assert {request.most_strokes for request in requests if request.kind != "words"} == {None}
    asked = [request.prompt.strokes for request in requests if request.kind == "words" and request.prompt.strokes]
    assert sum(asked) / len(asked) < 0.9 * sum(everyday) / len(everyday)


def test_a_good_drawing_is_well_formed_shows_its_parts_and_has_its_strokes(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert verdict(six, reading(strokes=5.0)) == GOOD and verdict(six, reading(strokes=8.0)) == OFF
    assert verdict(six, reading(strokes=8.0), 0.95) == BAD
    plain = SampleRequest(free, 0, 0, "words", most_strokes=6)
    assert plain.verdict(reading(strokes=6.0), 0.9) == GOOD and plain.verdict(reading(strokes=7.0), 0.9) == OFF
    assert replace(plain, prompt=replace(free, strokes=9)).verdict(reading(strokes=9.0), 0.9) == GOOD


def test_of_a_prompt_with_good_drawings_the_clear_failures_are_rejected() -> None:
    def kinds(*verdicts: str) -> list[str | None]:
        lines = [{"group": 7, "verdict": verdict, "file_name": f"{number}.png", "text": "cat",
                  "asked": "cat, 5 strokes", "strokes": 8} for number, verdict in enumerate(verdicts)]
        other = {**lines[0], "group": 8, "verdict": GOOD}  # of another prompt: it changes nothing
        return [row and row["kind"] for row in choose([*lines, other])[:-1]]

    assert kinds(GOOD, BAD, OFF, DOUBTFUL) == ["drawn", "rejected", "rejected", None]
    assert kinds(OFF, BAD, DOUBTFUL) == ["drawn", None, None]
    assert kinds(GOOD, GOOD, BAD) == ["drawn", "drawn", "rejected"]
    assert kinds(GOOD, DOUBTFUL, GOOD) == ["drawn", None, None]
    kept, rejected = choose([
        {"group": 1, "verdict": verdict, "file_name": "1.png", "text": "cat", "asked": "cat, 5 strokes", "strokes": 8}
        for verdict in (GOOD, BAD)])
    assert (kept["text"], kept["strokes"]) == ("cat", 8)
    assert (rejected["text"], rejected["strokes"]) == ("cat, 5 strokes", None)


def test_words_come_from_either_kind_of_vocabulary() -> None:
    assert vocabulary(tokenizer()) == ["the", "ferrari", "cat", "dog", "moon", "house", "ten"]
    assert vocabulary(tokenizer(("moo", "moon</w>", "a</w>", "!</w>"))) == ["moon"]


@pytest.mark.parametrize(("harm", "words"), [
    ("other settings", "settings (--seed)"), ("something else", "no set of drawings"),
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
    for flags in (["--words", "-1"], ["--drawings", "0"], ["--words", "0", "--meanings", "0", "--pairs", "0"]):
        with pytest.raises(SystemExit) as leaving:
            self_training_command.main(["--recogniser", "x", *flags])
        assert leaving.value.code == 2
