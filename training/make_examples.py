"""Draw the example images and the page that shows them.

    python training/make_examples.py --model tiny --prompts_file example_outputs/prompts.txt --output example_outputs

Plans the words as generate.py does and draws each prompt once, nothing chosen, and beside it the best of eight:
`--best_of 8` candidates, the first of which is the one drawn, and of which the recogniser chooses one. Writes, as
generate.py does, STEM.png and STEM.json for the one, STEM-best-of-8.png and .json for the other and
collated_examples.png of the first kind; and index.html, which opens offline from the folder and says of each image what
was planned, whether it is found and how it is drawn again. The lines of the prompts file that begin with # are the
page's headings.

All is drawn before anything is written, and the page is written last: stopped at any moment, the folder is as it was or
holds a whole page; where it was killed while files moved, the next run moves the rest first. Then images of an earlier
page whose prompts are no longer listed are removed; other files stay. The nearest real kanji is named where the dataset
folder is there.
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
from scoring.examples import ExamplesConfig, make
from scoring.examples_folder import PAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and write the page; returns the exit status."""
    config = parse(ExamplesConfig, arguments, __doc__, program="make_examples.py")

    def work(stop: StopSignals) -> None:
        make(config, stop)
        print(f"page: {config.output / PAGE} (open it in a browser, no network is needed)")

    return run(work, when_stopped=f"what lies in {config.output} is whole")


if __name__ == "__main__":
    sys.exit(main())
