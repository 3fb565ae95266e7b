"""Measure how well a model draws each component that words are planned with.

    python training/measure_components.py --model tiny     # some minutes on two cores

Draws pairs of components, none of which the score asks for, and counts where the control judge finds each. Writes
drawn_components.json beside the model (training/tiny, or the run or pipeline folder), by which generate.py chooses
among plans that are nearly as good. Interrupted, it begins anew.
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
from scoring.component_table import ComponentTableConfig, measure_components


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, read and write; returns the exit status."""
    config = parse(ComponentTableConfig, arguments, __doc__, program="measure_components.py")

    def work(stop: StopSignals) -> None:
        print(f"table: {measure_components(config, stop)}")

    return run(work, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
