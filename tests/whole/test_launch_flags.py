"""What launch_training.sh understands of its flags before it makes anything."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from launch_fixtures import make_clone
from training_fixtures import save_base


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clone(tmp_path_factory.mktemp("launch") / "clone")


def launch(script: Path, *flags: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([script, *flags], cwd=folder, capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


def stub_steps(clone: Path) -> Path:
    """Put in place of what the script runs, but for the plan, what only notes how it was called; gives the script."""
    for name in ("dataExtraction/main.py", "training/start_processes.py", "training/train_text_to_image.py",
                 "training/generate.py"):
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_text(
            "import json, sys\n"
            f"open({str(clone / 'calls')!r}, 'a').write(json.dumps([{name!r}, *sys.argv[1:]]) + '\\n')\n")
    return clone / "launch_training.sh"


def calls(clone: Path) -> list[list[str]]:
    """How the stubs were called: the command and its arguments."""
    return [json.loads(line) for line in (clone / "calls").read_text().splitlines()]


@pytest.mark.parametrize("flags", [("--help",), ("-h",), ("sd14", "--seed", "1", "--help")])
def test_help_is_the_head_of_the_script_and_needs_nothing(
        flags: tuple[str, ...], clone: Path, tmp_path: Path) -> None:
    ended = launch(clone / "launch_training.sh", *flags, folder=tmp_path)
    assert ended.returncode == 0
    assert "./launch_training.sh sd14" in ended.stdout and "--num_machines" in ended.stdout
    assert ended.stderr == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flags", "said"), [
    (("--output_dir",), "--output_dir needs a value"), (("--output-dir=",), "--output-dir needs a value"),
    (("--output_dir", "--seed", "1"), "--output_dir needs a value"), (("--train_data_dir",), "needs a value"),
    (("--preset",), "--preset needs a value"), (("--num_processes",), "needs a number"),
    (("--num_processes", "two"), "needs a number"), (("--num_processes", "0"), "needs a number"),
    (("--machine_rank", "--seed", "1"), "--machine_rank needs a number")])
def test_a_flag_without_its_value_is_refused_at_once(
        flags: tuple[str, ...], said: str, clone: Path, tmp_path: Path) -> None:
    ended = launch(clone / "launch_training.sh", "tiny", *flags, folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == "" and said in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_through_a_symlink_shows_the_callers_paths_and_makes_nothing(clone: Path, tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    (tmp_path / "go").symlink_to(clone / "launch_training.sh")
    held = sorted(path for path in clone.rglob("*") if "__pycache__" not in path.parts)
    ended = launch(tmp_path / "go", "--dry-run", "--preset", "sd-nano", "--pretrained_model_name_or_path", "base",
                   "--output_dir", "mine", "--device", "cpu", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "preset sd-nano" in ended.stdout
    settings = json.loads(ended.stdout[ended.stdout.index("{"):])
    assert (settings["output_dir"], settings["resolution"]) == ("mine", 128)
    assert settings["train_data_dir"] == str(clone / "data/kanji"), "the project's, as it was not named"
    assert settings["cache_dir"] == str(clone / "runs/cache")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "go"]
    assert sorted(path for path in clone.rglob("*") if "__pycache__" not in path.parts) == held


@pytest.mark.parametrize(("flags", "folder", "size"), [
    ((), "data/kanji", "128"), (("--resolution", "64"), "data/kanji", "128"),
    (("--resolution", "512"), "data/kanji-512", "512")])
def test_the_characters_are_drawn_at_the_size_that_is_trained_at_a_folder_each(
        flags: tuple[str, ...], folder: str, size: str, tmp_path: Path) -> None:
    """Not at 128 px, to be blown up to 512."""
    script = stub_steps(make_clone(tmp_path / "clone"))
    ended = launch(script, "tiny", *flags, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    dataset, training, _ = calls(tmp_path / "clone")
    assert dataset == ["dataExtraction/main.py", "--size", size, "--output", str(tmp_path / "clone" / folder)]
    assert training[training.index("--train_data_dir") + 1] == str(tmp_path / "clone" / folder)


def test_a_trainers_flag_without_its_value_ends_the_script(clone: Path) -> None:
    ended = launch(clone / "launch_training.sh", "tiny", "--seed", folder=clone)
    assert ended.returncode == 2
    assert "seed" in ended.stderr and "unbound" not in ended.stderr and "Traceback" not in ended.stderr
    assert not (clone / "runs").exists() and not (clone / "data").exists()
