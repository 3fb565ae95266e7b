"""What launch_training.sh is to run: the preset and the number of processes, with wrong flags and bases said first.

    python training/plan_run.py [--preset NAME] [flags of train_text_to_image.py]

Prints on one line the preset, the number of processes, `run` or, for --dry_run, `dry_run`, and the pictures' side in
pixels; on the next the reason for the preset. Ends with a message and a non-zero status, within seconds, where a flag
is wrong, a base cannot be had or a GPU is asked for that is not there.
"""

from __future__ import annotations

from common.startup import prepare_process

if __name__ == "__main__":
    prepare_process()

# isort: split

import sys

import torch

from common.device import choose_device
from common.errors import UserError
from models.hub import is_available
from trainer.presets import choose_preset, parse_train_config


def main() -> None:
    """Print the plan."""
    arguments = sys.argv[1:]
    if any(argument.split("=")[0] == "--preset" for argument in arguments):
        preset, reason = "", "as named"
    else:
        preset, reason = choose_preset()
        arguments = ["--preset", preset, *arguments]
    config = parse_train_config(arguments, description=__doc__)
    try:
        device = choose_device(config.device)
    except UserError as error:
        sys.exit(f"error: {error}")
    available, why = is_available(config.pretrained_model_name_or_path, config.revision)
    if not available:
        sys.exit(f"error: {why}")
    print(preset or "named", torch.cuda.device_count() if device.type == "cuda" else 1,
          "dry_run" if config.dry_run else "run", config.resolution)
    print(reason)


if __name__ == "__main__":
    main()
