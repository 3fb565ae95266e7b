"""Score a model: do the characters that it makes make sense?

    python training/evaluate.py --model tiny --output report
    python training/evaluate.py --model runs/tiny --output report --quick

Samples five sets of prompts (known, heldout, pairs, wild, budget; see prompt_sets.py), lets the shipped recogniser read
every image, and writes OUTPUT/report.json and OUTPUT/report.html, a page that opens offline. The same seed on the same
machine gives the same report. Image k of a prompt is the one that generate.py makes of the same words with --seed + k:
the page has the command. The default counts, about 2,650 images, are chosen so that the embedded base is scored in
some 11 minutes on two cores at 0.25 s an image; --quick takes a tenth of that. Needs the dataset folder: real
characters are what a score is held against.
"""

from __future__ import annotations

import common.torch_environment  # noqa: F401 - before torch

# isort: split

import sys
from collections.abc import Sequence

from common.command_line import parse, run
from common.stop_signals import StopSignals
from scoring.benchmark import EvaluateConfig, evaluate
from scoring.report_page import write_report
from scoring.summary import summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate and report; returns the exit status."""
    config = parse(EvaluateConfig, arguments, __doc__, program="evaluate.py").resolved()

    def work(_stop: StopSignals) -> None:
        report, samples = evaluate(config)
        page = write_report(config.output, report, samples, config)
        print(f"{summary(report)}\npage: {page}")

    return run(work, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
