"""Train the embedded base from scratch: a small autoencoder, then a small UNet over MiniLM's token states.

    python training/train_base.py --train_data_dir data/kanji --output_dir runs/tiny-base

Both stages resume where they stopped. The result, `<output_dir>/tiny/` (vae/, unet/, scheduler/, README.md in fp16), is
what training/tiny ships; copy it there to ship it. The UNet is trained by the same trainer as any other base: its
settings are flags with the prefix `unet.`, the autoencoder's have `vae.`.
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
from trainer.base_recipe import BaseConfig, autoencoder_stage, export, unet_stage


def main(arguments: Sequence[str] | None = None) -> int:
    """Train both stages and export the result; returns the exit status."""
    config = parse(BaseConfig, arguments, __doc__, program="train_base.py")

    def work(stop: StopSignals) -> None:
        base = autoencoder_stage(config, stop)
        export(unet_stage(config, base, stop), config)

    return run(work, when_stopped="the same command resumes from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
