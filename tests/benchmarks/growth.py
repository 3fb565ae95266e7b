"""How a run's set-up and its steps grow with the rows of the set: seconds and memory of sets of several sizes.

    python tests/benchmarks/growth.py --rows 10000 100000

Each size in a process of its own: a set of pictures of 8 px, each of its own bytes and with two captions, is read and
checked, the captions of 10,000 steps are planned, and the encoded rows opened. What the encoders would give is random
and written to the cache beforehand, since their work is in proportion to the rows on any machine. Then batches of 64
are made, which is all of a step that knows the set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "training"), str(ROOT / "tests")]

STEPS, MEASURED, BATCH, SIDE = 10_000, 50, 64, 8
TOKENS = 4  # of a caption: 77 would fill the disk, and are mapped from it all the same
WRITTEN = 4096  # records that are added to a store at once


def main() -> None:
    """Measure the sizes in turn and print a table, or, as a worker, one of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.rows[0])))
        return
    results = []
    for rows in options.rows:
        ended = subprocess.run([sys.executable, __file__, "--worker", "--rows", str(rows)], stdout=subprocess.PIPE,
                               text=True, check=True)
        results.append(json.loads(ended.stdout.splitlines()[-1]))
    print(table(results))


def measure(count: int) -> dict[str, float]:
    """Set up a run over `count` rows and make batches of it: CPU seconds, which other work does not lengthen."""
    from dataset.batch_plan import BatchPlan, PlanSettings
    from dataset.batches import Batches
    from dataset.cache import encode_rows
    from dataset.captioned_folder import read_dataset
    from dataset.sampling_weights import row_weights, timestep_weights
    from dataset.shard import Shard
    from trainer.run_folder import peak_memory_gb

    with tempfile.TemporaryDirectory() as folder:
        save_set(Path(folder) / "data", count)
        clock, result = Clock(), {"rows": count, "before_gb": peak_memory_gb(cpu())}
        rows = read_dataset(Path(folder) / "data", progress=False)
        result["read_s"] = clock.lap()
        settings = PlanSettings(0, BATCH, (4, SIDE // 2, SIDE // 2), dropout=0.1, tag_fraction=0.5)
        plan = BatchPlan(rows, settings, row_weights(rows, 0.5, 3.0, 0.0),
                         timestep_weights(1000, "none", 0.6, 4.0, 0, 1))
        required = plan.required_captions(STEPS)
        result["plan_s"] = clock.lap()
        pipeline = small_pipeline(Path(folder) / "base")
        encoding = encoding_settings(Path(folder) / "cache")
        with random_encoders():
            encode_rows(pipeline, rows, required, encoding)
        clock.lap()
        encoded = encode_rows(pipeline, rows, required, encoding)
        result["open_s"] = clock.lap()
        batches = Batches(plan, encoded, 1.0, Shard.of(BATCH, 1))
        batches.at(0)
        clock.lap()
        for step in range(1, MEASURED + 1):
            batches.at(step)
        result |= {"batch_ms": 1e3 * clock.lap() / MEASURED, "gb": peak_memory_gb(cpu())}
    return result


class Clock:
    """CPU seconds of this process, lap by lap."""

    def __init__(self) -> None:
        """Begin the first lap."""
        self.began = time.process_time()

    def lap(self) -> float:
        """The seconds since the last lap."""
        now = time.process_time()
        self.began, lap = now, now - self.began
        return lap


def save_set(folder: Path, count: int) -> None:
    """Grey pictures of random pixels, two captions and a stroke count each."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "metadata.jsonl").open("w") as lines:
        for number in range(count):
            name = f"{number:07d}.png"
            Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(folder / name, compress_level=1)
            lines.write(json.dumps({"file_name": name, "captions": [f"thing {number}", f"other {number}"],
                                    "strokes": number % 20 + 1}) + "\n")


def cpu() -> object:
    """Where all of it is."""
    import torch

    return torch.device("cpu")


def small_pipeline(folder: Path) -> object:
    """The tests' pipeline: its networks only name the cache's stores here."""
    from models.pipelines import load_pipeline
    from training_fixtures import save_base

    pipeline = load_pipeline(str(save_base(folder)))
    pipeline.tokenizer.model_max_length = TOKENS
    return pipeline


def encoding_settings(folder: Path) -> object:
    """Of pictures of SIDE px, in fp32."""
    from dataset.encoders import EncodingSettings

    return EncodingSettings(folder, SIDE, "bf16", cpu(), 0.0)


@contextmanager
def random_encoders() -> Iterator[None]:
    """Let the cache be filled with random records of the right shapes."""
    import torch

    from dataset import cache
    from dataset.encoders import caption_key

    def fill(store: object, keys: Sequence[str]) -> None:
        missing = store.missing(keys)
        for start in range(0, len(missing), WRITTEN):
            some = missing[start:start + WRITTEN]
            store.append(some, torch.rand(len(some), 1).expand(-1, torch.Size(
                store.shape).numel()).reshape(len(some), *store.shape))

    found = cache.fill_images, cache.fill_captions
    cache.fill_images = lambda store, _vae, rows, _settings: fill(store, [row.sha256 for row in rows])
    cache.fill_captions = lambda store, _pipeline, texts, _settings: fill(store, [caption_key(one) for one in texts])
    try:
        yield
    finally:
        cache.fill_images, cache.fill_captions = found


def table(results: Sequence[dict[str, float]]) -> str:
    """The figures in Markdown, and, of several sizes, what a row more costs between the smallest and the largest."""
    lines = ["| rows | read and checked | captions planned | records opened | memory beyond the libraries' | a batch |",
             "| --- | --- | --- | --- | --- | --- |"]
    for one in results:
        lines.append(f"| {one['rows']:,} | {one['read_s']:.2f} s | {one['plan_s']:.2f} s | {one['open_s']:.2f} s | "
                     f"{one['gb'] - one['before_gb']:.2f} GB | {one['batch_ms']:.1f} ms |")
    first, *_, last = sorted([*results, *results], key=lambda one: one["rows"])
    if more := last["rows"] - first["rows"]:
        seconds, size = (sum(sign * sum(one[name] for name in names) for sign, one in ((1, last), (-1, first)))
                         for names in (("read_s", "plan_s", "open_s"), ("gb",)))
        lines += ["", f"A row more costs {1e3 * seconds / more:.2f} ms of a CPU and {1e6 * size / more:.1f} kB."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
