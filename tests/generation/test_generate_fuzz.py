"""generate.py makes of any words and any settings images or a message that says what is wrong, and nothing else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import data_fixtures
import generate as generate_command
from generation import drawing, planning
from generation.strokes.finding import StrokeFinder
from generation.strokes.kanjivg import read_kanji
from generation.strokes.templates import Templates
from models.pipelines import load_model
from planner_fixtures import load_small_planner
from recogniser.judge import Judge
from recogniser_fixtures import save_judge
from training_fixtures import save_base

TEXT = st.text(max_size=90) | st.text("\U0001f680\u200d\ufeff\u202e\x00\x1b\n\t/.-'\"$\\ aé字あ", max_size=400)
WORDS = TEXT | st.sampled_from(["moon", "mouth", "two mouths", "say", "person, ten", "..", "/", "-1", "--help", "#"])
WHOLE = st.integers() | st.integers(-2, 50)
FLAGS = {
    "--steps": st.sampled_from([-1, 0, 1, 1, 1, 2, 1001, 10**12, 10**400]),
    "--guidance_scale": st.floats() | st.floats(1, 9),
    "--guided_fraction": st.floats() | st.floats(0, 1),
    "--seed": WHOLE,
    "--count": st.integers(-1, 2) | st.just(10**15),
    "--best_of": st.integers(-1, 3) | st.just(10**15),
    "--strokes": WHOLE,
    "--columns": WHOLE,
    "--parts": WORDS | st.sampled_from(["mouth, ten", "口", "ten,ten", "person, nobody", "a, b, c"]),
    "--plan": st.sampled_from(["auto", "on", "off", "maybe"]),
    "--revision": WORDS,
    "--device": st.sampled_from(["cpu", "auto", "tpu"]),
}
SWITCHES = ("--novel", "--explain", "--svg")
ANY = settings(max_examples=80, derandomize=True, database=None, deadline=None,
               suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True, scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    """A small model, planner, judge and KanjiVG, loaded once, in the place of those that each command loads."""
    folder = tmp_path_factory.mktemp("small")
    pipeline, planner = load_model(str(save_base(folder / "base", channels=1))), load_small_planner(folder / "planner")
    judge = Judge.load(save_judge(folder / "judge"), None)
    finder = StrokeFinder(Templates(read_kanji(data_fixtures.write_kanjivg(folder / "kanjivg", "明時好回近"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "load_model", lambda *_: pipeline)
        patch.setattr(drawing.Judge, "load", lambda *_: judge)
        patch.setattr(drawing, "installed_finder", lambda: finder)
        patch.setattr(planning.Planner, "load", lambda *_: planner)
        yield


def draw(flags: list[str], words: list[str], output: Path, capsys: pytest.CaptureFixture) -> None:
    """Run the command, and fail where it is neither done nor says what is wrong."""
    try:
        status = generate_command.main([*flags, "--output", str(output), "--", *words])
    except SystemExit as leaving:
        status = leaving.code
    said = capsys.readouterr()
    if status == 0:
        drawn = [path for path in output.glob("*.png") if path.name != "collated_examples.png"]
        assert drawn and (output / "collated_examples.png").is_file()
        for path in drawn:
            Image.open(path).load()
            assert json.loads(path.with_suffix(".json").read_text(encoding="utf8"))["command"]
    else:
        assert status in (1, 2) and (said.err.strip() or said.out.strip())
        assert not list(output.glob("*"))
    assert "Traceback" not in said.out + said.err


@ANY
@given(prompts=st.lists(WORDS, min_size=1, max_size=2),
       flags=st.fixed_dictionaries({}, optional=FLAGS), switches=st.sets(st.sampled_from(SWITCHES)))
@example(prompts=["moon"], flags={"--columns": -1}, switches=set())
@example(prompts=["moon"], flags={"--steps": 10**12}, switches=set())
@example(prompts=["moon"], flags={"--guidance_scale": 1e300}, switches=set())
@example(prompts=["moon"], flags={"--count": 10**15}, switches=set())
@example(prompts=["moon"], flags={"--best_of": 10**15}, switches=set())
@example(prompts=["moon"], flags={"--columns": 10**9}, switches=set())
@example(prompts=["moon"], flags={"--seed": 10**300}, switches=set())
@example(prompts=["\U00020000" * 80, "\U00020000" * 80], flags={"--seed": 10**14}, switches={"--svg"})
def test_any_words_and_flags(prompts, flags, switches, capsys) -> None:
    words = [prompt.replace("\0", " ") for prompt in prompts]  # no argument of a process can hold one
    with tempfile.TemporaryDirectory() as folder:
        given_flags = [part.replace("\0", " ") for name, value in ({"--steps": 1} | flags).items()
                       for part in (name, str(value))]
        draw([*given_flags, *sorted(switches)], words, Path(folder) / "drawn", capsys)


@ANY
@given(content=st.binary(max_size=60) | st.lists(WORDS, max_size=3).map(lambda lines: "\n".join(lines).encode()))
@example(content="# A heading\nmoon".encode("utf-8-sig"))
@example(content="moon".encode("utf-16"))
def test_any_prompts_file(content, capsys) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.txt"
        file.write_bytes(content)
        draw(["--steps", "1", "--prompts_file", str(file)], [], Path(folder) / "drawn", capsys)
