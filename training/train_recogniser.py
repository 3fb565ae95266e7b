"""Train the recogniser on the train split of the kanji set, choose its thresholds, measure it, and write its weights.

    python training/train_recogniser.py     # the judge; about 35 minutes on one core
    python training/train_recogniser.py --kind control --seed 1 --output_dir runs/control   # it only confirms

An interrupted run is resumed by the same command. Writes OUTPUT_DIR/weights/: recogniser.safetensors (fp16),
labels.json and recogniser.json (shape, thresholds, figures on the held-out characters).
"""

from __future__ import annotations

from common.startup import prepare_process

if __name__ == "__main__":
    prepare_process()

# isort: split

import sys
from collections.abc import Sequence

from common.command_line import parse, run
from common.stop_signals import StopSignals
from recogniser.config import RecogniserConfig
from recogniser.report import report
from recogniser.splits import read_splits
from recogniser.training import train


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, choose thresholds, measure, save; returns the exit status."""
    config = parse(RecogniserConfig, arguments, __doc__, program="train_recogniser.py")

    def work(stop: StopSignals) -> None:
        splits = read_splits(config.train_data_dir)
        network, vocabulary = train(splits, config, stop)
        report(network, vocabulary, config, splits)

    return run(work, when_stopped="the same command resumes from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
