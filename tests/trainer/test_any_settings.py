"""Whatever stands on the trainer's command line gives a run or a user's error, and nothing else."""

from __future__ import annotations

import sys
import typing
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import train_text_to_image
from common.settings import as_flags, as_json
from trainer.config import TrainConfig
from trainer.presets import parse_train_config
from training_fixtures import forked, small_config

FLAGS = [field.name for field in fields(TrainConfig)]
HARMLESS = {field.name: field for field in fields(TrainConfig) if field.name not in {
    # what would reach out, take minutes, or ask for another machine
    "push_to_hub", "push_dataset", "hub_model_id", "pretrained_model_name_or_path", "revision", "compile", "device",
    "train_data_dir", "output_dir", "cache_dir", "max_train_steps", "num_train_epochs", "train_batch_size",
    "gradient_accumulation_steps", "resolution", "num_inference_steps", "validation_prompts", "optimizer"}}
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from(
    [0, -0.0, 1, 1.0, 999, 1000, 2**31, 2**63, 10**30, 10**400, 1e-320, 1e308]))
TEXT = st.characters(codec="utf8", exclude_characters="\0")  # what a command line can hold
WORDS = st.one_of(NUMBERS.map(repr), st.text(TEXT, max_size=12), st.sampled_from(
    ["", "None", "True", "--", "-", "nan", "inf", "a b", "水", "\udcff", "..", "/dev/null"]))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.one_of(WORDS, st.sampled_from(FLAGS).map("--{}".format),
                          st.tuples(st.sampled_from(FLAGS), WORDS).map("--{0[0]}={0[1]}".format)), max_size=6))
def test_any_command_line_gives_settings_or_is_refused(arguments: list[str]) -> None:
    with redirect_stderr(StringIO()) as said, redirect_stdout(StringIO()):
        try:
            config = parse_train_config(arguments, description=None)
        except SystemExit as refused:
            assert refused.code == (0 if {"-h", "--help"} & set(arguments) else 2)
            assert refused.code == 0 or said.getvalue().startswith("train_text_to_image.py: error: ")
        else:
            assert isinstance(config, TrainConfig)
            as_json(config)


def values(field_type: object) -> st.SearchStrategy[str]:
    """Values that a flag of this type may be given, most of them within reason and some at its edges."""
    choices = typing.get_args(field_type)
    if typing.get_origin(field_type) is typing.Literal:
        return st.sampled_from(choices)
    if field_type in (int, int | None):
        return st.sampled_from(["0", "1", "2", "3", "1000", str(2**40)])
    if field_type in (float, float | None):
        return st.sampled_from(["0", "1e-320", "1e-6", "0.5", "0.999", "1", "7", "1e6", "1e300"])
    return st.sampled_from(["text", "captions", "file_name", "strokes", "latest", "none", "水", " "])


@st.composite
def flags(draw: st.DrawFn) -> list[str]:
    """Up to four flags with values of their types."""
    hints, chosen = typing.get_type_hints(TrainConfig), draw(st.lists(st.sampled_from(sorted(HARMLESS)), max_size=4,
                                                                      unique=True))
    found = []
    for name in chosen:
        if hints[name] is bool:
            found.append(draw(st.sampled_from([f"--{name}", f"--no_{name}"])))
        else:
            found += [f"--{name}", draw(values(hints[name]))]
    return found


@settings(max_examples=20, deadline=None, derandomize=True)
@given(flags(), st.lists(st.text(TEXT, max_size=40), max_size=3))
def test_any_settings_train_or_are_refused_by_a_sentence(
        bench: Path, tmp_path_factory: pytest.TempPathFactory, given_flags: list[str], prompts: list[str]) -> None:
    output = tmp_path_factory.mktemp("run") / "run"
    config = small_config(bench / "base", bench / "data", output, max_train_steps=2, train_batch_size=2,
                          num_inference_steps=1, cache_dir=bench / "cache")
    arguments = [*as_flags(config), *given_flags]
    if prompts:
        arguments += [f"--validation_prompts={prompts[0]}"] if prompts[0].startswith("-") else [
            "--validation_prompts", *(prompt for prompt in prompts if not prompt.startswith("-"))]
    ended = forked(lambda: sys.exit(train_text_to_image.main(arguments)), bench / "log")
    event(f"exit status {ended.status}")
    assert ended.status in (0, 1, 2), ended.output
    assert "Traceback" not in ended.output
    assert (ended.status == 0) == (output / "finished.json").is_file() or "--dry_run" in arguments
    assert ended.status == 0 or "error: " in ended.output
