"""launch_training.sh passes signals on to the trainer, ends as it ends, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import checkpoints
from training_fixtures import command_line, save_base, save_dataset, small_config

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project, with an environment that is this one."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "training", clone / "training", ignore=shutil.ignore_patterns("__pycache__", "tiny"))
    (clone / "tests").mkdir()
    for name in ("launch_training.sh", "requirements.txt", "tests/environment.sh"):
        shutil.copy(ROOT / name, clone / name)
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    digest = hashlib.sha256((clone / "requirements.txt").read_bytes()).hexdigest()
    (clone / ".venv/requirements.sha256").write_text(f"{digest}\n")
    save_base(tmp_path / "base")
    save_dataset(tmp_path / "data")
    return clone


def start(clone: Path, *extra: str) -> subprocess.Popen:
    config = small_config(clone.parent / "base", clone.parent / "data", clone.parent / "run", max_train_steps=100_000,
                          checkpointing_steps=100_000, lr_scheduler="constant")
    return subprocess.Popen([clone / "launch_training.sh", "tiny", *command_line(config), *extra], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                            preexec_fn=take_sigint, env={**os.environ, "OMP_NUM_THREADS": "1"})


def delay_saving(clone: Path) -> None:
    """Make a checkpoint take 33 seconds, as a large one does; a launcher of several processes grants 30 by itself."""
    with (clone / "training/common/checkpoints.py").open("a") as file:
        file.write("\n_save_at_once = save\n\n\ndef save(*args):\n    import time\n    time.sleep(33)\n"
                   "    return _save_at_once(*args)\n")


def take_sigint() -> None:
    """Undo what a shell does to jobs in the background: they ignore SIGINT, and no script can trap what it ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def characters(process: subprocess.Popen) -> Iterator[str]:
    """The output as it comes, in pieces that end where a progress bar redraws itself."""
    piece = ""
    while letter := process.stdout.read(1):
        piece += letter
        if letter in "\r\n":
            yield piece
            piece = ""


def left_behind(clone: Path) -> list[str]:
    """The command lines of living processes that work on this run; accelerate starts its own in sessions of theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line, state = (path / "cmdline").read_text(), (path / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if str(clone.parent / "run") in line and state != "Z":
            found.append(line)
    return found


@pytest.mark.parametrize(("number", "to_all", "extra"), [
    (signal.SIGTERM, False, ()), (signal.SIGINT, False, ()), (signal.SIGINT, True, ()),
    (signal.SIGTERM, False, ("--num_processes", "2"))], ids=["SIGTERM", "SIGINT", "Ctrl-C", "two processes"])
def test_a_signal_to_the_script_saves_a_checkpoint_and_leaves_nothing_behind(
        number: signal.Signals, to_all: bool, extra: tuple[str, ...], clone: Path) -> None:
    if extra:
        delay_saving(clone)
    process = start(clone, *extra)
    try:
        output = ""
        for piece in characters(process):
            output += piece
            if "loss=" in piece:
                break
        assert "loss=" in output, output
        (os.killpg if to_all else os.kill)(process.pid, number)
        output += process.stdout.read()
        status = process.wait(timeout=120)
        assert status == 128 + number, output
        assert left_behind(clone) == []
        assert checkpoints.latest(clone.parent / "run").step > 0
        assert "is saved in" in output
        assert "Traceback" not in output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(("act", "status", "said"), [
    ("sys.exit('error: no such data')", 1, "error: no such data"),
    ("os.kill(os.getpid(), 9)", 137, "process 1 was killed by signal 9")], ids=["error", "killed"])
def test_several_processes_end_as_the_one_that_failed_without_a_traceback(
        act: str, status: int, said: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import os, sys, time\nif os.environ['RANK'] == '1':\n    {act}\ntime.sleep(60)\n")
    ended = subprocess.run(
        [sys.executable, ROOT / "training/start_processes.py", "--multi_gpu", "--num_processes", "2", "--num_machines",
         "1", "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", script],
        capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == status, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
