"""A blind test: one page on which a reader tells real kanji from invented, and then says what invented ones mean.

    python training/blind_test.py --model tiny --output blind_test.html

The page opens offline. In the first round the reader marks each glyph real or invented; half right is what guessing
gives, and what a perfect inventor would reach. The second shows other invented characters, one after another, each with
four names of the modern world, and asks which it means; a quarter right is what guessing gives. The page then tells the
accuracy of each round with its 95 % interval and saves the answers as JSON, with the command that draws each invented
one again.
The real ones are held-out kanji without a school grade and outside the 2,501 most frequent, and they go once through
the model's autoencoder: only the shape can tell, not the texture of the drawing.
"""

from __future__ import annotations

from common.startup import prepare_process

if __name__ == "__main__":
    prepare_process()

# isort: split

import sys
from collections.abc import Sequence

from common.command_line import parse, run
from common.files import write_text
from common.stop_signals import StopSignals
from scoring.blind_test import BlindTestConfig, collect, page


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, and write the page; returns the exit status."""
    config = parse(BlindTestConfig, arguments, __doc__, program="blind_test.py")

    def work(_stop: StopSignals) -> None:
        test = collect(config)
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_text(config.output, page(test, config))
        print(f"page: {config.output} ({config.count} glyphs, {config.meanings} meanings; open it in a browser, no "
              "network is needed)")

    return run(work, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
