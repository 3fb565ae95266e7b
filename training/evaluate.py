"""Score a model: do the characters that it makes make sense?

    python training/evaluate.py --model tiny --output report
    python training/evaluate.py --model runs/tiny --output report --quick

Samples sets of prompts (known, heldout, pairs, wild, budget, plans; see prompt_sets.py), two of them also planned, lets
the shipped recogniser read every image, and writes OUTPUT/report.json, OUTPUT/report.html, a page that opens offline,
and OUTPUT/plans.jsonl. The same seed on the same machine gives the same report. Image k of a prompt is the one that
generate.py makes of the same words, by their best plan, with --seed + k: the page has the command. The default counts,
about 4,350 images, take the embedded base some 18 minutes on two cores at 0.25 s an image; --quick takes a tenth of
that. Needs the dataset folder: real characters are what a score is held against. What the plans give without a model:

    python dataExtraction/main.py --plans report/plans.jsonl --output data/plans
    python training/evaluate.py --model tiny --output report --composed_plans data/plans
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
from scoring.config import EvaluateConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate and report; returns the exit status."""
    config = parse(EvaluateConfig, arguments, __doc__, program="evaluate.py").resolved()
    from scoring.evaluation import evaluate  # with libraries that load for seconds, once the flags are right
    from scoring.report_page import write_report
    from scoring.summary import summary

    def work(_stop: StopSignals) -> None:
        report, samples, plans = evaluate(config)
        page = write_report(config.output, report, samples, config, plans)
        print(f"{summary(report)}\npage: {page}")

    return run(work, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
