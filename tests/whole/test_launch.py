"""launch_training.sh passes signals on to the trainer, ends as it ends, and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import checkpoints
from common.settings import as_flags
from launch_fixtures import ROOT, make_clone
from training_fixtures import save_base, save_dataset, small_config

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project, and beside it a base and a set."""
    save_base(tmp_path / "base")
    save_dataset(tmp_path / "data")
    return make_clone(tmp_path / "clone")


def start(clone: Path, *extra: str, stdout: int = subprocess.PIPE) -> subprocess.Popen:
    config = small_config(clone.parent / "base", clone.parent / "data", clone.parent / "run", max_train_steps=100_000,
                          checkpointing_steps=100_000, lr_scheduler="constant")
    return subprocess.Popen([clone / "launch_training.sh", "tiny", *as_flags(config), *extra], text=True,
                            stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True,
                            preexec_fn=take_signals, env={**os.environ, "OMP_NUM_THREADS": "1"})


def delay_saving(clone: Path) -> None:
    """Make a checkpoint take 33 seconds, as a large one does; a launcher of several processes grants 30 by itself."""
    with (clone / "training/common/checkpoints.py").open("a") as file:
        file.write("\n_save_at_once = save\n\n\ndef save(*args):\n    import time\n    time.sleep(33)\n"
                   "    return _save_at_once(*args)\n")


def take_signals() -> None:
    """Undo what a shell does to jobs in the background, which ignore SIGINT, and nohup, under which SIGHUP is ignored.

    No script can trap what it ignores.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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


VARIANT, TWO = pytest.mark.variant, ("--num_processes", "2")


@pytest.mark.parametrize(("number", "to_all", "extra", "saves_long"), [
    pytest.param(signal.SIGTERM, False, (), False, id="SIGTERM"),
    pytest.param(signal.SIGINT, False, (), False, id="SIGINT", marks=VARIANT),
    pytest.param(signal.SIGINT, True, (), False, id="Ctrl-C"),
    pytest.param(signal.SIGHUP, False, (), False, id="SIGHUP", marks=VARIANT),
    pytest.param(signal.SIGHUP, True, (), False, id="closed terminal", marks=VARIANT),
    pytest.param(signal.SIGTERM, False, TWO, False, id="two processes"),
    pytest.param(signal.SIGTERM, False, TWO, True, id="two processes, a large checkpoint", marks=VARIANT),
    pytest.param(signal.SIGHUP, True, TWO, False, id="two, closed terminal", marks=VARIANT)])
def test_a_signal_to_the_script_saves_a_checkpoint_and_leaves_nothing_behind(
        number: signal.Signals, to_all: bool, extra: tuple[str, ...], saves_long: bool, clone: Path) -> None:
    if saves_long:
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


def test_a_terminal_that_is_gone_costs_no_checkpoint(clone: Path) -> None:
    """All that is printed fails then."""
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    process = start(clone, stdout=terminal)
    os.close(terminal)
    try:
        seen = b""
        while b"loss=" not in seen:
            seen += os.read(screen, 4096)
        os.close(screen)  # the kernel sends SIGHUP to the session's leader, where the terminal is its own
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=120) == 129
        assert left_behind(clone) == []
        assert checkpoints.latest(clone.parent / "run").step > 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_called_through_a_symlink_from_another_folder_it_works_there_on_its_paths(clone: Path) -> None:
    caller = clone.parent / "caller"
    caller.mkdir()
    for name in ("base", "data"):
        (clone.parent / name).rename(caller / name)
    (caller / "go").symlink_to(clone / "launch_training.sh")
    (clone / "example_outputs/prompts.txt").write_text("moon\n")
    held = {path for path in clone.rglob("*") if "__pycache__" not in path.parts}
    config = small_config(Path("base"), Path("data"), Path("run"), max_train_steps=1, cache_dir=Path("cache"))
    ended = subprocess.run(["./go", "tiny", *as_flags(config)], cwd=caller, capture_output=True, text=True,
                           timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == 0, ended.stderr
    assert (caller / "run/pipeline/model_index.json").is_file()
    assert (caller / "run/examples/collated_examples.png").is_file()
    assert {path for path in clone.rglob("*") if "__pycache__" not in path.parts} == held


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
