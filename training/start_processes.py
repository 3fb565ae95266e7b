"""Accelerate's launcher, ending as the processes that it starts: their status, and no traceback over their messages.

    python training/start_processes.py --multi_gpu --num_processes 2 training/train_text_to_image.py --preset tiny
"""

from __future__ import annotations

import logging
import sys

from common.quiet import known_noise_off

with known_noise_off():
    from accelerate.commands.launch import main as launch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> None:
    """Launch with accelerate's flags; exit with the status of the process that failed first, named where killed."""
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # says of each what is said below
    try:
        launch()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(f"error: process {rank} was killed by signal {-failure.exitcode}. The same command resumes from the "
                  "last checkpoint.", file=sys.stderr)
        sys.exit(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)


if __name__ == "__main__":
    main()
