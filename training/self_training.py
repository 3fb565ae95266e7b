"""Draw characters with a model, let a recogniser choose, and write a set to train the model on: what to do, what not.

    python training/train_recogniser.py --seed 2 --steps 3000 --vae_reconstructed 1200 --output_dir runs/reward_model
    python training/self_training.py --model tiny --reward_model runs/reward_model/weights --output data/own
    python training/train_text_to_image.py --preset tiny --extra_data_dir data/own --output_dir runs/tiny-own

Words that no kanji means have no picture to learn from, so the model wavers between several and draws a mixture. What
it drew well is a sample to learn from (RAFT, arXiv 2304.06767); what it drew badly for the same prompt is a negative
sample, to be led away from (DiffusionNFT, arXiv 2509.16117). Half of the prompts name a number of strokes. A sample is
good where it is well-formed, shows a component of a kanji of that meaning, or both components of a composed character's
caption, and has the number of strokes; of words that name none, no more than two thirds of everyday characters have. Of
a prompt with good samples and others that clearly fail, the others are negative; where none fails, one is kept; where
none is good, those are kept that fail by their strokes alone. A kept sample is labelled with the strokes that the
recogniser counts, a negative one has the prompt as it was asked.

The reward model is a recogniser of its own seed, neither the judge nor the control judge: those score the model that
comes of it.
No prompt of evaluate.py's sets `wild`, `heldout` and `pairs` is drawn, and no word of `wild` among the words. Those of
`known` and `budget`, which are meanings of training kanji, are drawn.

OUTPUT is an imagefolder (metadata.jsonl with file_name, text, strokes, kind "sampled" or "negative", and the seed and
command that draw it again; manifest.json with settings and counts; README.md), there only when it is whole; a run that
was stopped is resumed by the same command.
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
from scoring.self_training import make_set, summary
from scoring.self_training_requests import SelfTrainingConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, choose and write; returns the exit status."""
    config = parse(SelfTrainingConfig, arguments, __doc__, program="self_training.py")

    def work(stop: StopSignals) -> None:
        print(summary(make_set(config, stop), config.output))

    return run(work, when_stopped="the same command resumes from here")


if __name__ == "__main__":
    sys.exit(main())
