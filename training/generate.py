"""Draw new characters from English words.

    python training/generate.py "Buzz Aldrin" Ferrari --output pictures

Words become components first: a planner says that a submarine is a boat and water, and the model is asked for "boat
water". What was planned is said and stands in the JSON. `--plan off` gives the model the words as they are, `--parts
"boat, water"` is a plan of your own, `--novel` plans a new character also for words that have a kanji.

Writes a PNG for each image, a JSON beside it (words, plan, seed, settings, hash of the model, the command that draws it
again) and all of them as one captioned grid, collated_examples.png. Works at once on the embedded base; `--model
runs/sd-nano` takes a run, and any Stable Diffusion pipeline folder or hub id will do; only models that were trained on
kanji are planned for. Image k of a prompt has seed `--seed` + k, whatever else is drawn beside it; its noise comes from
that seed and the words, so that two prompts never begin alike, and where several plans are good the seed says which.

`--best_of 8` draws eight candidates for each image, the first of which is the one that would be drawn without it, and
keeps the one in which the recogniser finds what was planned, then the best formed and nearest to `--strokes`; a near
copy of an existing kanji only where none is as good, or where that kanji is the plan.
`--explain` says what was planned and what is found of it. `--svg` adds the outline as vector paths, NAME.svg, and
NAME.strokes.svg: the strokes in drawing order, which a browser plays, where some are found that draw the image again.
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
from generation.settings import GenerateConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw into a folder; returns the exit status."""
    config = parse(GenerateConfig, arguments, __doc__, program="generate.py")
    from generation.drawing import draw_to_folder  # with libraries that load for seconds, once the flags are right

    def work(_stop: StopSignals) -> None:
        grid = draw_to_folder(config)
        print(f"images: {config.output}\ngrid:   {grid}")

    return run(work, when_stopped=f"what was drawn lies in {config.output}")


if __name__ == "__main__":
    sys.exit(main())
