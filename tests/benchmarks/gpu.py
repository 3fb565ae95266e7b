"""The trial of a GPU: does training give there what it promises? Three parts, a table and a JSON for each.

    python tests/benchmarks/gpu.py --output runs/trial                   all parts, 25 minutes at most
    python tests/benchmarks/gpu.py --output runs/trial --speed           one of them, 9 minutes at most

--correctness: on a small base of random weights, in each precision and with each thing that may change what is
computed, a run of 8 steps is held against one that was ended after 4 and resumed, by the bytes of every tensor of the
checkpoint. Under --deterministic they must be equal; without it what differs is only told. And a step must not wait for
the GPU, by CUDA's own watch.

--speed: images/s at the sizes of SD-nano and SD 1.4, in several batches, compiled and not, with CUDA graphs and with
weights cast once an update, beside the stock recipe and as a fraction of the bf16 rate that a matrix product has there;
what of a step's time the GPU is at work; and where there are several GPUs, of all of them, gradients compressed or not.

--peaks: each preset in as much memory as its card has, with a checkpoint and a sample grid.

A part that has used up its time leaves the rest out; the same command again measures that. The exit status is 1 where
something does not hold, failed or was left out. Without a GPU the same is done in small on the CPU, where all runs of
the first part must be equal. No hub, no data, and none of lxml, cairo, datasets and MiniLM are needed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "training"), str(ROOT / "tests")]

import common.torch_environment  # noqa: E402, F401 - before torch

# isort: split

from benchmarks import gpu_peaks, gpu_speed  # noqa: E402
from benchmarks.gpu_correctness import correctness  # noqa: E402
from benchmarks.gpu_peaks import peaks  # noqa: E402
from benchmarks.gpu_speed import speed  # noqa: E402

PARTS = {"correctness": correctness, "speed": speed, "peaks": peaks}


def main() -> int:
    """Do the parts that are asked for, or all; returns the exit status."""
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.worker:
        result = work(*options.worker, options.output)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(result))
        return 0
    chosen = [part for name, part in PARTS.items() if getattr(options, name)] or list(PARTS.values())
    held = [part(options.output) for part in chosen]  # all of them: one that fails ends no other
    return 0 if all(held) else 1


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the folder for tables and what the runs leave")
    for name in PARTS:
        parser.add_argument(f"--{name}", action="store_true", help="this part; without a part, all of them")
    parser.add_argument("--worker", nargs=2, metavar=("PART", "CASE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def work(part: str, case: str, output: Path) -> dict:
    """Measure one case in this process."""
    return gpu_speed.measure(case) if part == "speed" else gpu_peaks.measure(case, output)


if __name__ == "__main__":
    sys.exit(main())
