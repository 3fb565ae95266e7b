"""Train an autoencoder of glyphs from scratch, of the embedded base's kind: 128 px, grey, to 16x16x4 latents and back.

    python training/train_vae.py --train_data_dir data/kanji --output_dir runs/vae

Beside the folder's glyphs it sees line art drawn by us, of many pens (--line_art_fraction). Writes OUTPUT_DIR/vae, a
diffusers AutoencoderKL whose latents have mean 0 and spread 1, and OUTPUT_DIR/reconstruction.json: its mean absolute
error on held-out glyphs, and on line art by the pen's width and of widths and shapes that it never saw. The same
command again resumes where it stopped. It is also the first stage of train_base.py.
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
from trainer.autoencoder import TrainVaeConfig, write_vae


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, write; returns the exit status."""
    config = parse(TrainVaeConfig, arguments, __doc__, program="train_vae.py")

    def work(stop: StopSignals) -> None:
        print(f"autoencoder: {write_vae(config, stop)}")

    return run(work, when_stopped="the same command resumes from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
