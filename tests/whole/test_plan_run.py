"""What launch_training.sh will run, and what it refuses before anything is made."""

import pytest
import torch

import plan_run
from models import hub
from trainer import presets


def plan(monkeypatch, capsys, *arguments: str) -> list[str]:
    monkeypatch.setattr("sys.argv", ["plan_run.py", *arguments])
    plan_run.main()
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def with_gpu(monkeypatch, available: bool):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(presets, "is_available", lambda *_: (available, "the hub says so"))
    monkeypatch.setattr(plan_run, "is_available", lambda *_: (True, "it is there"))


def test_without_a_gpu_the_embedded_base_is_trained_by_one_process(monkeypatch, capsys):
    chosen, reason = plan(monkeypatch, capsys)
    assert chosen == "tiny 1 run 128"
    assert "no CUDA GPU" in reason


def test_with_gpus_and_weights_sd_nano_is_trained_on_all_of_them(monkeypatch, capsys):
    with_gpu(monkeypatch, available=True)
    chosen, reason = plan(monkeypatch, capsys)
    assert chosen == "sd-nano 4 run 128"
    assert "a GPU" in reason


def test_with_gpus_but_no_weights_the_embedded_base_is_trained_and_the_reason_said(monkeypatch, capsys):
    with_gpu(monkeypatch, available=False)
    chosen, reason = plan(monkeypatch, capsys)
    assert chosen == "tiny 4 run 128"
    assert "the hub says so" in reason


def test_a_preset_whose_base_cannot_be_had_ends_with_the_way_out(monkeypatch, capsys):
    def refuse(*_, **__):
        raise hub.ModelError("the hub cannot be reached; train the embedded base: ./launch_training.sh tiny")

    monkeypatch.setattr(hub, "hub_snapshot", refuse)
    with pytest.raises(SystemExit, match=r"launch_training\.sh tiny"):
        plan(monkeypatch, capsys, "--preset", "sd14")


def test_a_preset_that_does_not_exist_is_refused_with_those_that_do(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        plan(monkeypatch, capsys, "--preset", "sd15")
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("sd15", "tiny", "sd-nano", "sd14"))


def test_a_gpu_that_is_asked_for_and_not_there_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="--device cuda"):
        plan(monkeypatch, capsys, "--preset", "tiny", "--device", "cuda")


def test_a_flag_that_does_not_exist_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        plan(monkeypatch, capsys, "--random_flip", "1")
    assert stopped.value.code == 2


def test_a_dry_run_is_told_however_it_is_spelled(monkeypatch, capsys):
    for flags in (["--dry_run"], ["--dry-run"]):
        assert plan(monkeypatch, capsys, *flags)[0] == "tiny 1 dry_run 128"


@pytest.mark.parametrize(("flags", "pixels"), [
    ((), "512"), (("--resolution", "256"), "256"), (("--resolution=64",), "64")])
def test_the_side_of_the_pictures_is_told_so_that_they_are_drawn_at_it(flags, pixels, monkeypatch, capsys):
    monkeypatch.setattr(plan_run, "is_available", lambda *_: (True, "it is there"))
    assert plan(monkeypatch, capsys, "--preset", "sd14", *flags)[0] == f"named 1 run {pixels}"
