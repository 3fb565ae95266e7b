"""Train the planner: from English words to the components of a new character.

    python dataExtraction/main.py --fits data/fits.jsonl
    python training/train_planner.py --train_data_dir data/kanji --output_dir runs/planner     # 20 minutes on one core

It learns from the meanings and components of real train kanji and from WordNet's nouns (Debian's package wordnet-base,
or --wordnet FOLDER), never from what the score asks: held-out meanings, the names of prompts/wild.txt and the other
words of their synsets, the prompts of held-out pairs. Settings were chosen on prompts/development.txt. Writes
OUTPUT_DIR/weights/: planner.safetensors (fp16), components.json and planner.json; copy it to training/planner_weights
to ship it. What was encoded is kept, so that the same command again resumes where it stopped.
"""

from __future__ import annotations

from common.startup import prepare_process

if __name__ == "__main__":
    prepare_process()

# isort: split

import json
import sys
from collections.abc import Sequence

from common.command_line import parse, run
from common.stop_signals import StopSignals
from planner.training import PlannerConfig, train_planner


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure and write; returns the exit status."""
    config = parse(PlannerConfig, arguments, __doc__, program="train_planner.py")

    def work(stop: StopSignals) -> None:
        print(json.dumps(train_planner(config, stop), indent=1))
        print(f"weights: {config.output_dir / 'weights'}")

    return run(work, when_stopped="the same command resumes from here")


if __name__ == "__main__":
    sys.exit(main())
