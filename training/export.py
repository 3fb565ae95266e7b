"""Write a model as a plain diffusers pipeline folder, or as one file for AUTOMATIC1111 and ComfyUI.

    python training/export.py tiny --output tiny-pipeline
    python training/export.py runs/tiny --output my-kanji --dtype fp16
    python training/export.py runs/sd14 --output model.safetensors

Takes `tiny`, run folders, pipeline folders and hub ids. The folder, which diffusers loads and draws with by itself,
holds safetensors, the sampler of generate.py as its scheduler, and a model card whose snippets run as they stand. The
file, of Stable Diffusion 1.x and 2.x alone, is in their original layout. Either is there only when it is whole.
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
from trainer.export import ExportConfig, write_export


def main(arguments: Sequence[str] | None = None) -> int:
    """Load and write; returns the exit status."""
    config = parse(ExportConfig, arguments, __doc__, program="export.py")

    def work(_stop: StopSignals) -> None:
        print(write_export(config))

    return run(work, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
