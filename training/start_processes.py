"""Accelerate's launcher, ending as the processes that it starts: their status, and no traceback over their messages.

    python training/start_processes.py --multi_gpu --num_processes 2 training/train_text_to_image.py --preset tiny
"""

from __future__ import annotations

from common.startup import give_back_signals, prepare_process

if __name__ == "__main__":
    prepare_process()

# isort: split

import logging
import signal
import sys

from common.quiet import known_noise_off

with known_noise_off():
    from accelerate.commands.launch import main as launch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> None:
    """Launch with accelerate's flags; exit with the status of the process that failed first, named where killed.

    A terminal that is closed tells the processes too; this one ends when they have ended.
    """
    give_back_signals()
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: None)  # unlike SIG_IGN, not inherited by what is started
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # says of each what is said below
    try:
        launch()
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(f"error: process {rank} was killed by signal {-failure.exitcode}. The same command resumes from the "
                  "last checkpoint.", file=sys.stderr)
        sys.exit(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)


if __name__ == "__main__":
    main()
