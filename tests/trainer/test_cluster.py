"""What the page has a cluster's user paste trains on two machines: here two folders, on CPUs, joined by gloo."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from common.settings import as_flags
from readme_fixtures import ROOT, blocks, commands
from training_fixtures import forked, metrics, small_config

PAGE, FLAGS = "training/README.md", "--preset sd14 --train_data_dir data/kanji-512 --output_dir runs/sd14"
MACHINES = 2
FEWER = {"--num_processes 16": f"--num_processes {MACHINES}", "--nproc_per_node 8": "--nproc_per_node 1"}
STAND_INS = {
    # SLURM's: the names of the machines, the first of which the others ask, and a task on each
    "scontrol": "echo localhost; echo elsewhere",
    "srun": """while [[ $1 == --* ]]; do shift; done
for rank in 0 1; do
  (cd "../machine-$rank" && SLURM_PROCID=$rank SLURM_LOCALID=0 exec "$@") & tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit; done""",
    "python": f'exec {shlex.quote(sys.executable)} "$@"',
    "torchrun": f'exec {shlex.quote(sys.executable)} -m torch.distributed.run "$@"',
    "accelerate": f'exec {shlex.quote(sys.executable)} -m accelerate.commands.accelerate_cli "$@"',
}


def lines_of(launcher: str) -> list[str]:
    """What the page has the user run on each machine, or once, by a launcher."""
    if launcher == "srun":
        return [block for language, block in blocks(PAGE) if language == "bash" and "\nsrun " in block]
    (line,) = [line for page, line in commands() if page == PAGE and line.startswith(launcher)]
    return [line.replace("--machine_rank 0", f"--machine_rank {rank}") for rank in range(MACHINES)]


def small_flags(bench: Path) -> list[str]:
    """What makes the page's run one of seconds: all of a small run's but where it reads and writes."""
    config = small_config(bench / "base", Path("data/kanji-512"), Path("runs/sd14"), max_train_steps=3,
                          train_batch_size=2, gradient_accumulation_steps=2, cache_dir=Path("cache"),
                          validation_prompts=("moon",))
    return as_flags(config)


@pytest.fixture(scope="module")
def losses_of_one_process(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Without a launcher, under the same flags."""
    import train_text_to_image

    folder = machine(tmp_path_factory.mktemp("one") / "machine", bench)

    def work() -> None:
        os.chdir(folder)
        sys.exit(train_text_to_image.main([*shlex.split(FLAGS), *small_flags(bench)]))

    assert forked(work, folder / "log").status == 0, (folder / "log").read_text()
    return [line["loss"] for line in metrics(folder / "runs/sd14")]


def machine(folder: Path, bench: Path) -> Path:
    """A folder as a machine has the project: its commands, and a set of its own."""
    (folder / "data").mkdir(parents=True)
    (folder / "training").symlink_to(ROOT / "training")
    (folder / "data/kanji-512").symlink_to(bench / "data")
    return folder


def stand_ins(folder: Path) -> Path:
    """A folder of commands that this machine may lack, or have of another environment."""
    folder.mkdir()
    for name, text in STAND_INS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def replacements(bench: Path) -> dict[str, str]:
    """What is another here than on the page: a small run, one process a machine, and where they meet."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    small = shlex.join(small_flags(bench))
    assert not set(small) & set("'\"$\\"), "they stand within quotes in SLURM's script"
    return {FLAGS: f"{FLAGS} {small}", "29500": port, "10.0.0.1": "localhost", **FEWER}


def environment_with(commands_folder: Path) -> dict[str, str]:
    """This process's, with what SLURM sets for two tasks on two machines, and with those commands."""
    return {**os.environ, "PATH": f"{commands_folder}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [
    "accelerate", *(pytest.param(other, marks=pytest.mark.variant) for other in ("torchrun", "srun"))])
def test_what_the_page_has_for_two_machines_trains_as_one_process_does(
        launcher: str, bench: Path, losses_of_one_process: list[float], tmp_path: Path) -> None:
    machines, started = [machine(tmp_path / f"machine-{rank}", bench) for rank in range(MACHINES)], []
    here, environment = replacements(bench), environment_with(stand_ins(tmp_path / "bin"))
    for line, folder in zip(lines_of(launcher), machines, strict=False):  # SLURM's script runs on the first alone
        assert FLAGS in line
        for there, own in here.items():
            line = line.replace(there, own)
        started.append(subprocess.Popen(["bash", "-c", line], cwd=folder, env=environment, text=True,
                                        stdout=(folder / "log").open("w"), stderr=subprocess.STDOUT,
                                        start_new_session=True))
    try:
        statuses = [one.wait(timeout=300) for one in started]
    finally:
        for one in started:
            if one.poll() is None:
                os.killpg(one.pid, signal.SIGKILL)
    said = "".join((folder / "log").read_text() for folder in machines if (folder / "log").exists())
    assert set(statuses) == {0}, said
    assert "2 processes" in said
    losses = [line["loss"] for line in metrics(machines[0] / "runs/sd14")]
    assert losses == pytest.approx(losses_of_one_process, rel=1e-4)
    assert not (machines[1] / "runs").exists(), "one writer"
