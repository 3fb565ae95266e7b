"""The command line: presets, flags over them, and a plain refusal of what makes no sense."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from common.command_line import parse as command_line_parse
from common.settings import MAY_DIFFER, as_flags, as_json
from trainer.base_recipe import BaseConfig
from trainer.config import TrainConfig, public_settings, result_settings, with_epochs
from trainer.learning_rate import changes_before, learning_rate
from trainer.presets import PRESETS, parse_train_config
from training_fixtures import run_main, small_config

DIFFUSERS_FLAGS = (
    "pretrained_model_name_or_path", "revision", "train_data_dir", "image_column", "caption_column", "output_dir",
    "cache_dir", "resolution", "train_batch_size", "gradient_accumulation_steps", "max_train_steps",
    "num_train_epochs", "learning_rate", "lr_scheduler", "lr_warmup_steps", "mixed_precision", "use_ema",
    "snr_gamma", "noise_offset", "seed", "checkpointing_steps", "checkpoints_total_limit",
    "resume_from_checkpoint", "validation_prompts", "report_to", "tracker_project_name", "push_to_hub", "hub_model_id",
    "gradient_checkpointing", "max_train_samples", "max_grad_norm", "adam_beta1", "adam_beta2",
    "adam_weight_decay", "adam_epsilon")


def parse(*arguments: str) -> TrainConfig:
    return parse_train_config(arguments, description=None)


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_flags_keep_the_names_that_diffusers_users_know() -> None:
    assert set(DIFFUSERS_FLAGS) <= {field.name for field in fields(TrainConfig)}


def test_flags_go_over_the_preset_wherever_it_stands() -> None:
    assert parse() == PRESETS["tiny"]
    for arguments in (("--preset", "sd14", "--seed", "3"), ("--seed", "3", "--preset=sd14")):
        assert parse(*arguments) == replace(PRESETS["sd14"], seed=3)
    assert parse("--train-batch-size", "7", "--no_use_ema", "--snr_gamma", "None", "--validation_prompts", "a b", "c",
                 ) == replace(PRESETS["tiny"], train_batch_size=7, use_ema=False, snr_gamma=None,
                              validation_prompts=("a b", "c"))


def test_every_preset_is_a_whole_set_of_settings() -> None:
    for name, config in PRESETS.items():
        assert parse("--preset", name) == config
        assert config.output_dir == Path("runs") / name


@pytest.mark.parametrize("base", ["sd-nano", "sd14"])
def test_a_smaller_gpu_learns_from_the_same_samples(base: str) -> None:
    whole = PRESETS[base]
    for other in (PRESETS[f"{base}-8gb"], PRESETS[f"{base}-80gb"]):
        assert (other.train_batch_size * other.gradient_accumulation_steps
                == whole.train_batch_size * whole.gradient_accumulation_steps)
        assert other.resolution == whole.resolution


def test_settings_survive_the_command_line_and_json() -> None:
    config = small_config(Path("base"), Path("data"), Path("run"), lora_rank=4, compile=True, use_ema=False)
    assert parse("--preset", "tiny", *as_flags(config)).lora_rank == 4
    assert json.loads(json.dumps(as_json(config))) == as_json(config)
    assert as_json(config)["validation_prompts"] == ["moon", "water tree"]


def test_an_unknown_preset_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture) -> None:
    message = refused(capsys, "--preset", "sd99")
    assert all(name in message for name in ("sd99", *PRESETS))
    assert "sd-nano" in refused(capsys, "--preset")


@pytest.mark.parametrize(("flag", "value"), [
    ("train_batch_size", "0"), ("stroke_tag_fraction", "1.5"), ("learning_rate", "0"), ("resolution", "100"),
    ("seed", "-1"), ("lora_rank", "0"), ("checkpoints_total_limit", "0"), ("num_train_epochs", "-2"),
    ("max_train_steps", "0"),
    ("validation_prompts", ""), ("lr_scheduler", "sideways"), ("train_batch_size", "many"), ("no_such_flag", "1"),
    ("validation_steps", "-1"), ("cache_budget", "-1"), ("lr_warmup_steps", "-1"), ("guidance_scale", "nan"),
    ("learning_rate", "inf"), ("adam_beta1", "1.0"), ("adam_beta2", "1"), ("seed", str(2**64)), ("seed", "9" * 400),
    ("timestep_bias_multiplier", "1e300"), ("num_inference_steps", "1001"), ("resolution", "100000"),
    ("timestep_bias_begin", "500"), ("timestep_bias_end", "500")])
def test_a_value_out_of_range_is_refused_by_its_flag(flag: str, value: str, capsys: pytest.CaptureFixture) -> None:
    assert flag in refused(capsys, f"--{flag}", value).replace("-", "_")


def test_prompts_without_a_prompt_are_refused(capsys: pytest.CaptureFixture) -> None:
    assert "--validation_prompts without a value" in refused(capsys, "--validation_prompts")
    assert "--validation_prompts without a value" in refused(capsys, "--validation_prompts", "--seed", "1")


@pytest.mark.parametrize("other", [("--lora_rank", "4"), ("--mixed_precision", "fp16")])
def test_muon_is_refused_where_it_cannot_train(other: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    assert "must be adamw for a LoRA" in refused(capsys, "--optimizer", "muon", *other)


@pytest.mark.parametrize(("flags", "words"), [
    (("--compile_mode", "reduce-overhead"), "--compile_mode reduce-overhead: must be default without --compile"),
    (("--compile_mode", "reduce-overhead", "--compile", "--gradient_accumulation_steps", "2"), "must be default"),
    (("--half_weights", "--lora_rank", "4"), "--half_weights True: must be left out for a LoRA")])
def test_what_makes_no_step_faster_is_refused(flags: tuple[str, ...], words: str,
                                              capsys: pytest.CaptureFixture) -> None:
    assert words in refused(capsys, *flags)
    assert parse("--compile", "--compile_mode", "max-autotune", "--half_weights").compile_mode == "max-autotune"


def test_dry_run_prints_the_settings_and_touches_nothing(tmp_path: Path) -> None:
    config = small_config(tmp_path / "none", tmp_path / "none", tmp_path / "run", dry_run=True)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    assert json.loads(ended.output)["train_batch_size"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize(("changes", "words"), [
    ({"device": "cuda"}, "no CUDA GPU"), ({"mixed_precision": "fp16"}, "needs a CUDA GPU"),
    ({"compress_gradients": "bf16"}, "needs a CUDA GPU")])
def test_a_gpu_asked_for_and_not_there_is_said_at_once(changes: dict, words: str, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ended = run_main(small_config(tmp_path / "none", tmp_path / "none", tmp_path / "run", **changes), tmp_path / "log")
    assert ended.status == 1
    assert words in ended.output
    assert "Traceback" not in ended.output


def test_epochs_set_the_steps_by_rows_and_samples_of_an_update() -> None:
    config = replace(TrainConfig(), num_train_epochs=3, train_batch_size=4, gradient_accumulation_steps=2)
    assert with_epochs(config, rows=100, processes=1).max_train_steps == 38  # 300 samples, 8 a step
    assert with_epochs(config, rows=100, processes=2).max_train_steps == 38
    assert with_epochs(TrainConfig(), rows=100, processes=1) == TrainConfig()


@pytest.mark.parametrize(("old", "new"), [
    ("composed_share", "composed_fraction"), ("stroke-tag-share", "stroke_tag_fraction"),
    ("extra_share", "extra_fraction"), ("one_part_share", "single_component_fraction"),
    ("common_weight", "frequent_kanji_weight"), ("part_balance", "rare_component_exponent"),
    ("recogniser", "reward_model"), ("recogniser_weight", "reward_weight")])
def test_a_flag_of_an_older_version_is_refused_in_one_line_with_its_new_name(
        old: str, new: str, capsys: pytest.CaptureFixture) -> None:
    for arguments in ((f"--{old}", "0.5"), (f"--{old}=0.5",)):
        message = refused(capsys, "--seed", "1", *arguments)
        assert message == f"train_text_to_image.py: error: --{old.replace('-', '_')} is called --{new} now\n"


def test_an_older_flag_of_a_stage_is_refused_with_the_stage_before_the_new_name(
        capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        command_line_parse(BaseConfig, ["--words.composed_share", "0.5"], None)
    assert "--words.composed_share is called --words.composed_fraction now" in capsys.readouterr().err


def test_a_card_may_tell_no_path_of_this_machine() -> None:
    told = public_settings(TrainConfig())
    assert not told.keys() & {"output_dir", "cache_dir", "train_data_dir", "extra_data_dir", "held_out_prompts",
                              "reward_model", "pretrained_model_name_or_path"}
    assert {"learning_rate", "composed_fraction", "seed"} <= told.keys()
    paths = {field.name for field in fields(TrainConfig) if "Path" in str(field.type)}
    assert not told.keys() & paths, "nor one that a later version adds"


def test_what_is_reported_and_kept_may_differ_at_resume_and_what_is_learned_may_not() -> None:
    fixed = as_json(TrainConfig(), without=MAY_DIFFER)
    assert {"seed", "learning_rate", "composed_fraction", "optimizer", "mixed_precision", "resolution"} <= fixed.keys()
    assert not fixed.keys() & {"output_dir", "max_train_steps", "checkpointing_steps", "validation_prompts",
                               "logging_steps", "train_data_dir"}


def test_reports_and_caches_make_no_other_result() -> None:
    config = TrainConfig()
    told = replace(config, logging_steps=3, report_to="none", cache_dir=Path("elsewhere"), cache_budget=0.0)
    assert result_settings(told) == result_settings(config) != result_settings(replace(config, guidance_scale=2.0))
    epochs = replace(config, num_train_epochs=3)
    assert result_settings(replace(epochs, max_train_steps=7)) == result_settings(epochs)


# --- the learning rate -----------------------------------------------------------------------------------------------

def rates(**changes) -> list[float]:
    config = replace(TrainConfig(), learning_rate=1.0, max_train_steps=20, lr_warmup_steps=4, **changes)
    return [learning_rate(config, step) for step in range(20)]


def test_the_rate_warms_up_and_falls_as_its_schedule_says() -> None:
    assert rates(lr_scheduler="constant") == [1.0] * 20
    assert rates(lr_scheduler="constant_with_warmup")[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    cosine, linear = rates(lr_scheduler="cosine"), rates(lr_scheduler="linear")
    assert cosine[4] == linear[4] == 1.0
    assert cosine[12] == linear[12] == pytest.approx(0.5)
    assert cosine[4:] == sorted(cosine[4:], reverse=True)
    assert 0 < cosine[19] < linear[19] < 0.1
    cooled = rates(lr_scheduler="constant_with_warmup", lr_cooldown_steps=4)
    assert cooled[15:] == [1.0, 1.0, 0.75, 0.5, 0.25]


def test_a_run_may_be_prolonged_until_its_rate_falls() -> None:
    old = replace(TrainConfig(), max_train_steps=100, lr_scheduler="constant_with_warmup", lr_cooldown_steps=10)
    new = replace(old, max_train_steps=200)
    assert not changes_before(old, new, 90)
    assert changes_before(old, new, 95)
    assert changes_before(replace(old, lr_scheduler="cosine"), replace(new, lr_scheduler="cosine"), 90)
    branch = replace(old, max_train_steps=60, lr_cooldown_steps=20)
    assert not changes_before(old, branch, 41)
    assert changes_before(old, branch, 42)
