"""Average the UNets of two models of the same base, such as weights and what they became by further training.

    python training/average_models.py tiny runs/tiny-own --fraction 0.5 --output runs/tiny-averaged

Between weights and their fine-tuned selves the loss is low, and in the middle the faults of either are often smaller
(WiSE-FT, arXiv 2109.01903). `--fraction` is the second model's weight. Writes a pipeline folder, there only when it is
whole, which generate.py, evaluate.py and the trainer take by name.
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
from trainer.export import AverageConfig, write_average


def main(arguments: Sequence[str] | None = None) -> int:
    """Average and write; returns the exit status."""
    config = parse(AverageConfig, arguments, __doc__, program="average_models.py")

    def work(_stop: StopSignals) -> None:
        write_average(config)
        print(f"pipeline: {config.output}")

    return run(work, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
