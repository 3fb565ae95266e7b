"""Plan new characters for the words of the world: dataExtraction/names.jsonl.

    python training/plan_names.py --train_data_dir data/kanji --output dataExtraction/names.jsonl     # a minute

The words are those of planner/labels.tsv, each with two of its components that have room for each other and that few
other words have. What the score asks is left out. generate.py looks words up in the file first, and
dataExtraction/main.py --names composes the characters.
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
from planner.names import NamesConfig, write_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan and write; returns the exit status."""
    config = parse(NamesConfig, arguments, __doc__, program="plan_names.py")

    def work(stop: StopSignals) -> None:
        print(json.dumps(write_names(config, stop), ensure_ascii=False))
        print(f"names: {config.output}")

    return run(work, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
