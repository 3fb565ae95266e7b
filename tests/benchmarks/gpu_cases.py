"""What the parts of the GPU's trial share: cases measured one after another, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

PART_S = 540.0  # seconds that a part may take; what is not measured by then, the same command measures later
ENDING_S = 40.0  # torchrun kills what has not ended after 30
Result = dict[str, Any]
Run = Callable[[str, Path, float], Result]  # of a case, the part's folder and the seconds that are left


def on_gpu() -> bool:
    """Whether the trial is of a GPU; without one it runs in small."""
    return torch.cuda.is_available()


def machine() -> dict[str, str]:
    """What figures are of: they are kept only beside others of the same."""
    return {"device": torch.cuda.get_device_name() if on_gpu() else "CPU", "torch": torch.__version__}


def measure_cases(folder: Path, part: str, cases: Sequence[str], run: Run,
                  limit_s: float = PART_S) -> dict[str, Result]:
    """The results of the cases by name, which are also in `folder`/`part`.json after each of them.

    A case that was measured on this machine before is not measured again, and one that has no time left is left out. A
    result with `failed` says why there is none.
    """
    path, began = folder / f"{part}.json", time.monotonic()
    results = _measured_before(path)
    for case in cases:
        left = limit_s - (time.monotonic() - began)
        if case in results or left <= 0:
            continue
        result = run(case, folder, left)
        print(f"{part}: {case}: {result}", file=sys.stderr, flush=True)
        if "failed" not in result or left > limit_s / 2:  # what failed at the end may have had too little time
            results[case] = result
        write(path, {**machine(), "cases": results})
    return {case: results.get(case, {"failed": "no time was left; the same command measures it"}) for case in cases}


def start(part: str, case: str, folder: Path, timeout_s: float, processes: int = 1) -> Result:
    """Measure a case of a part in a new process, or in several; what they say goes into a file of the folder."""
    log = folder / f"{part}-{case.replace(' ', '-')}.log"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else ()), Path(__file__).with_name("gpu.py"),
               "--output", folder, "--worker", part, case]
    with (log.open("w") as file,
          subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True) as process):
        try:
            printed, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its processes then, each of which has a group of its own
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_S)
            return {"failed": f"not done in {timeout_s:.0f} s"}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it, and what compiles for it, where it is not done
    if process.returncode:
        return {"failed": last_words(log.read_text(), process.returncode)}
    return json.loads(printed.splitlines()[-1])


def last_words(said: str, status: int) -> str:
    """Why a process failed, in short: memory that ran out is said so, wherever a traceback says it."""
    if "out of memory" in said or status == -9:
        return "out of memory"
    return f"status {status}: {(said.strip().splitlines() or ['nothing was said'])[-1]}"


def write(path: Path, content: Result) -> None:
    """Write JSON, whole or not at all."""
    from common.files import write_text

    write_text(path, json.dumps(content, indent=1, default=str) + "\n")


def _measured_before(path: Path) -> dict[str, Result]:
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    same = all(content.get(name) == value for name, value in machine().items())
    return {case: result for case, result in content["cases"].items() if "failed" not in result} if same else {}
