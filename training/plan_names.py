"""Plan new characters for the words of the world: dataExtraction/names.jsonl.

    python training/plan_names.py --train_data_dir data/kanji --output dataExtraction/names.jsonl     # some minutes

Words are WordNet's common nouns, people and places, and before them the names of planner/modern.tsv; what their glosses
and hypernyms say is in the plans, so that a planner at work needs no WordNet. Slurs and obscenities are left out, as
WordNet marks them; so is all that the score asks. generate.py looks words up in the file first, and
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

    return run(work, when_stopped="nothing was written; what was encoded is kept")


if __name__ == "__main__":
    sys.exit(main())
