"""Why did most of the first exercise's characters make no sense? Its recipe in small, mended one change at a time.

    python training/ablation.py --train_data_dir data/kanji --output_dir runs/ablation

Trains the embedded base's UNet five times from the same untrained weights, with the same small budget of steps: first
by the recipe of the first exercise (half of all glyphs mirrored, all meanings of a kanji in one caption, real kanji
alone), then with one change after another. Each arm is scored as evaluate.py does it, without choosing among several
images. Writes ablation.json, ablation.md (a table) and ablation.png (the same prompts and seeds by every arm) beside
the arms' run folders. The same command again resumes where it stopped; what is finished is neither trained nor scored
again.

The trainer never flips a glyph, so the first arm's mirror images are made as data: a folder with each real picture and
its mirror image. Captions that the text encoder would cut (16 tokens: one in twenty with all meanings joined) are cut.
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
from scoring.ablation import AblationConfig, compare


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, score and compare the arms; returns the exit status."""
    config = parse(AblationConfig, arguments, __doc__, program="ablation.py")

    def work(stop: StopSignals) -> None:
        print(f"\n{compare(config, stop)}\nimages: {config.output_dir / 'ablation.png'}")

    return run(work, when_stopped="the same command resumes from here")


if __name__ == "__main__":
    sys.exit(main())
