"""What launch_training.sh understands of its flags before it makes anything."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from launch_fixtures import ROOT, make_clone
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


MACHINES = ("--num_machines", "2", "--main_process_ip", "10.0.0.1")


@pytest.mark.parametrize(("flags", "said"), [
    (("--num_machines", "2"), "needs --machine_rank and --main_process_ip"),
    (("--num_machines", "2", "--machine_rank", "0"), "needs --machine_rank and --main_process_ip"),
    ((*MACHINES, "--machine_rank", "2"), "count from 0 to 1"), (("--num_machines", "0"), "needs a number")])
def test_machines_that_could_not_meet_are_refused_at_once(
        flags: tuple[str, ...], said: str, clone: Path, tmp_path: Path) -> None:
    ended = launch(clone / "launch_training.sh", "tiny", *flags, folder=tmp_path)
    assert ended.returncode == 2 and said in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(("rank", "port"), [("0", ""), ("1", ""), ("1", "0"), ("1", "1234")])
def test_the_first_of_several_machines_alone_draws_examples_and_all_meet_at_one_port(
        rank: str, port: str, tmp_path: Path) -> None:
    """Without a shared disk the others have no model; a port of 0 would be another one on each."""
    script = stub_steps(make_clone(tmp_path / "clone"))
    ended = launch(script, "tiny", *MACHINES, "--machine_rank", rank,
                   *(["--main_process_port", port] if port else []), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (_, start, *examples) = calls(tmp_path / "clone")
    told = dict(pairwise(start))
    assert (told["--num_machines"], told["--machine_rank"], told["--main_process_ip"]) == ("2", rank, "10.0.0.1")
    assert told["--main_process_port"] == (port if port == "1234" else "29500")
    assert told["--num_processes"] == "2", "one on each"
    assert [call[0] for call in examples] == (["training/generate.py"] if rank == "0" else [])


def test_machines_with_one_disk_make_environment_and_dataset_one_after_another(tmp_path: Path) -> None:
    """While another holds the lock of a folder, one waits, and says so."""
    script = tmp_path / "script.sh"
    environment = ROOT / "tests/environment.sh"
    script.write_text(f"set -e\n. {environment}\none_at_a_time {tmp_path / 'data'}\necho alone\n")
    (tmp_path / "data").mkdir()
    with (tmp_path / "data/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = subprocess.Popen(["bash", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "waiting for another run" in waiting.stderr.readline()
        assert waiting.poll() is None
    assert waiting.communicate(timeout=60)[0] == "alone\n"


def test_a_trainers_flag_without_its_value_ends_the_script(clone: Path) -> None:
    ended = launch(clone / "launch_training.sh", "tiny", "--seed", folder=clone)
    assert ended.returncode == 2
    assert "seed" in ended.stderr and "unbound" not in ended.stderr and "Traceback" not in ended.stderr
    assert not (clone / "runs").exists() and not (clone / "data").exists()
