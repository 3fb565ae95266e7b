"""A page on this machine: type words, change the plan, draw, and keep the character.

    python training/demo.py
    python training/demo.py --model runs/tiny --models my_run other_pipeline

It prints its address, http://127.0.0.1:7860 or the next free port. Choose among `tiny`, the finished runs in runs/ and
the folders that --models names. What the page draws for words, a seed and a plan is what generate.py draws for them.

It needs gradio, which requirements.txt leaves out since gradio wants an older Pillow; without it the command that
installs it is said. Only this machine can reach the page, and nothing is sent anywhere. GRADIO_SERVER_NAME and
GRADIO_SERVER_PORT, gradio's own, change the address. Ctrl-C ends it.
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
from page.config import DemoConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until it is stopped; returns the exit status."""
    config = parse(DemoConfig, arguments, __doc__, program="demo.py")
    from page.serving import require_gradio, serve_until_stopped  # once the flags are right: it loads for seconds

    def work(_stop: StopSignals) -> None:
        require_gradio()
        serve_until_stopped(config)

    return run(work, when_stopped="the page is closed")


if __name__ == "__main__":
    sys.exit(main())
