r"""Train the embedded base from scratch: a small autoencoder, then a small UNet over MiniLM's token states, in phases.

    python training/train_base.py --train_data_dir data/kanji --output_dir runs/tiny-base

    python dataExtraction/main.py --compose 120000 --evenness 0.5 --shapes 2 --least_common 3 --names \
        --output data/kanji120
    python training/train_base.py --train_data_dir data/kanji120 --start_from tiny    # the last phases, on many more

Every stage resumes where it stopped, and one that is complete is not run again. The result, `<output_dir>/tiny/` (vae/,
unet/, scheduler/, README.md in fp16), is what training/tiny ships; copy it there to ship it. The UNet is trained by the
same trainer as any other base: the settings of its phases are flags with the prefixes `words.`, `components.` and
`reward.`, the autoencoder's have `vae.`, the reward model's `reward_model.`.
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
from trainer.base_recipe import BaseConfig, train_base


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all stages and export the result; returns the exit status."""
    config = parse(BaseConfig, arguments, __doc__, program="train_base.py")

    def work(stop: StopSignals) -> None:
        train_base(config, stop)

    return run(work, when_stopped="the same command resumes from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
