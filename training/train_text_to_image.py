"""Fine-tune a Stable Diffusion base on captioned pictures.

    python training/train_text_to_image.py --preset tiny --train_data_dir data/kanji --output_dir runs/tiny

The flags are those that users of diffusers' text-to-image script know; `--help` lists them with their units, and
`--dry-run` prints what would run. The same command again resumes where it stopped. The run folder holds config.json,
command.txt, metrics.jsonl, samples/, checkpoint-*/, and at the end pipeline/, a diffusers folder with its model card.
"""

from __future__ import annotations

from common.startup import prepare_process

if __name__ == "__main__":
    prepare_process()

# isort: split

import json
import sys
from collections.abc import Sequence

from common.command_line import run
from common.settings import as_json
from common.stop_signals import StopSignals
from trainer.config import with_precision
from trainer.presets import parse_train_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, or print what would be trained; returns the exit status."""
    config = parse_train_config(arguments, description=__doc__)
    if not config.dry_run:
        from trainer.run import train  # with libraries that load for seconds, once it is known that they are needed

    def work(stop: StopSignals) -> None:
        if config.dry_run:
            print(json.dumps(as_json(with_precision(config)), indent=1))
        else:
            train(config, stop)

    return run(work, when_stopped="the same command resumes from here")


if __name__ == "__main__":
    sys.exit(main())
