"""Ctrl-C at any event of any command: the exit status that the shell expects, and no traceback.

Events are named, not timed: the early ones are found by Python's own audit hook in the real command's process, the
later ones are trapped in a fork of this process, which has the libraries loaded already.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common import checkpoints, command_line, startup
from common.stop_signals import StopSignals
from recogniser_fixtures import save_kanji_set
from training_fixtures import before, forked, save_base, send

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [*sorted((ROOT / "training").glob("*.py")), ROOT / "dataExtraction/main.py"]
THIN = [path.stem for path in COMMANDS if "return run(work" in path.read_text(encoding="utf8")]
TRAP = """
import os, signal, sys

stopped = []

def hook(event, arguments):
    ready = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    if event == "import" and ready and arguments[0].startswith(os.environ["INTERRUPT_AT"]) and not stopped:
        stopped.append(True)
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(hook)
"""
# What gets a command to load its libraries; --help does for those that are not here.
ARGUMENTS = {"evaluate": (), "generate": ("moon",)}
BEFORE_THE_WORK = {"after Python's start": "", "while libraries load": "torch", "while tyro loads": "tyro"}


@pytest.mark.parametrize("event", BEFORE_THE_WORK)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_before_its_work_a_command_ends_at_once(command: Path, event: str, tmp_path: Path) -> None:
    module = BEFORE_THE_WORK[event]
    without_torch = "dataExtraction" in command.parts or command.stem in ("make_font", "demo")
    if (module == "torch" and without_torch) or (module == "tyro" and "start_p" in command.stem):
        pytest.skip("does not load it")
    (tmp_path / "sitecustomize.py").write_text(TRAP)
    ended = subprocess.run(
        [sys.executable, command, *(ARGUMENTS.get(command.stem, ["--help"]) if module == "torch" else ["--help"])],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "INTERRUPT_AT": module, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr == "stopped by SIGINT\n"
    assert ended.stdout == ""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and the small kanji set."""
    folder = tmp_path_factory.mktemp("inputs")
    save_base(folder / "base", channels=1)
    save_kanji_set(folder / "kanji")
    return folder


def interrupted(name: str, lay: Callable[[object], Callable[[], None]], flags: list[str], folder: Path) -> str:
    """What a command prints that is interrupted where `lay`, given its module, lays the trap."""
    module = importlib.import_module(name)

    def work() -> None:
        startup.prepare_process()
        os.chdir(folder)
        lay(module)()
        sys.exit(module.main(flags))

    ended = forked(work, folder / "log")
    assert ended.status == 130, ended.output
    assert "stopped by SIGINT" in ended.output and "Traceback" not in ended.output
    return ended.output


def minimal(name: str) -> list[str]:
    """The fewest flags that a command needs to begin."""
    return {"average_models": ["a", "b"], "export": ["a"], "self_training": ["--reward_model", "a"],
            "generate": ["moon"], "make_font": ["a"]}.get(name, [])


@pytest.mark.parametrize("name", [name for name in THIN if name != "plan_run"])
def test_when_its_settings_are_parsed_and_when_its_work_begins(name: str, tmp_path: Path) -> None:
    interrupted(name, lambda module: before(module, "run", 1, send(signal.SIGINT)), minimal(name), tmp_path)

    def entered(_module: object) -> Callable[[], None]:
        def lay() -> None:
            enter = StopSignals.__enter__

            def enter_and_stop(self: StopSignals) -> StopSignals:
                enter(self)
                os.kill(os.getpid(), signal.SIGINT)
                return self

            command_line.StopSignals.__enter__ = enter_and_stop

        return lay

    interrupted(name, entered, minimal(name), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def small(name: str, inputs: Path, output: Path) -> list[str]:
    """Flags under which a command's work takes seconds."""
    base, kanji = str(inputs / "base"), str(inputs / "kanji")
    device = ["--device", "cpu"]
    data, run = ["--train_data_dir", kanji], ["--output_dir", str(output)]
    trained = ["--pretrained_model_name_or_path", base, "--resolution", "32", "--train_batch_size", "2",
               "--max_train_steps", "1", "--cache_dir", str(output.parent / "cache"), "--report_to", "none", *device]
    return {
        "average_models": [base, base, "--output", str(output)],
        "blind_test": ["--model", base, *data, "--output", str(output), "--count", "2", "--meanings", "1", "--steps",
                       "1", *device],
        "export": [base, "--output", str(output)],
        "generate": ["moon", "--model", base, "--steps", "1", "--output", str(output), *device],
        "train_text_to_image": [*data, *run, *trained],
        "train_vae": [*data, *run, "--steps", "1", "--batch_size", "2", "--line_art_measured", "1"],
    }[name]


@pytest.mark.parametrize("event", ["model loaded", "first output written"])
@pytest.mark.parametrize("name", ["average_models", "blind_test", "export", "generate", "train_text_to_image",
                                  "train_vae"])
def test_when_a_model_is_loaded_and_when_the_first_output_is_written(
        name: str, event: str, inputs: Path, tmp_path: Path) -> None:
    def lay(_module: object) -> Callable[[], None]:
        if event == "model loaded":  # each is put into evaluation or training when its weights are there
            return before(torch.nn.Module, "train", 1, send(signal.SIGINT))

        def both() -> None:
            before(os, "replace", 1, send(signal.SIGINT))()
            before(os, "rename", 1, send(signal.SIGINT))()

        return both

    interrupted(name, lay, small(name, inputs, tmp_path / "output"), tmp_path)
    assert not list(tmp_path.rglob(".tmp-*")) and not list(tmp_path.rglob(".*.tmp")), "nothing half-written is left"


# --- output that cannot be written -----------------------------------------------------------------------------------

DRY_RUN = (ROOT / "training/train_text_to_image.py", "--dry_run", "--validation_prompts", "水")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess:
    """A line of Bash; its exit status is that of the first command of a pipe. `"$@"` is the trainer's dry run."""
    return subprocess.run(["bash", "-c", f"{line}\nexit ${{PIPESTATUS[0]}}", "bash", sys.executable, *DRY_RUN],
                          capture_output=True, timeout=120, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


def test_a_reader_that_is_gone_or_a_closed_output_changes_nothing() -> None:
    for line, out in (('"$@" | head -1', b"{\n"), ('"$@" >&-', b""), ('"$@" >&- 2>&- <&-', b"")):
        ended = shell(line)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, out, b""), line


def test_what_is_written_after_the_output_was_closed_is_whole(inputs: Path, tmp_path: Path) -> None:
    """The next file to be opened would take the output's number."""
    def work() -> None:
        os.close(1)
        os.close(2)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = None, None
        startup.prepare_process()
        sys.exit(importlib.import_module("train_vae").main(small("train_vae", inputs, tmp_path / "run")))

    assert forked(work, tmp_path / "log").status == 0
    assert checkpoints.latest(tmp_path / "run").step == 1
    assert (tmp_path / "run/vae/config.json").is_file()


def test_a_terminal_without_kanji_shows_their_codes() -> None:
    ended = shell('"$@"', PYTHONIOENCODING="latin-1")
    assert ended.returncode == 0
    assert b"\\u6c34" in ended.stdout


def test_an_output_on_a_full_disk_is_said() -> None:
    ended = shell('"$@" >/dev/full')
    assert ended.returncode == 1
    assert ended.stderr == b"error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("name", THIN)
def test_bytes_that_are_no_utf8_are_refused_in_words_and_paths(name: str, tmp_path: Path) -> None:
    ended = forked(lambda: sys.exit(importlib.import_module(name).main(["--output=m\udcffn"])), tmp_path / "log")
    assert ended.status == 2
    assert ended.output.startswith(f"{name}.py: error: --output=m\\udcffn: holds bytes that are no UTF-8")


def test_the_dataset_command_refuses_them_too(tmp_path: Path) -> None:
    ended = subprocess.run([os.fsencode(sys.executable), os.fsencode(COMMANDS[-1]), b"--output=m\xff\xfen"],
                           cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert b"holds bytes that are no UTF-8" in ended.stderr and b"Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
