"""Make a TrueType font of the characters that generate.py drew.

    python training/generate.py rocket "Full Moon" --output pictures
    python training/make_font.py pictures/ --output mykanji.ttf

Takes each PNG that has a JSON beside it. In a program that knows ligatures, as browsers, LibreOffice and most editors
do, typing a character's words shows it: rocket, Rocket or ROCKET; of several pictures of the same words the second is
rocket2. Each also has a private-use code point, from U+E000 on, by the order of words and seeds, and its words as the
glyph's name. Latin letters are there to type with. Licence and attribution stand in the font: CC BY-SA 4.0.
"""

from __future__ import annotations

from common.startup import prepare_process

if __name__ == "__main__":
    prepare_process()

# isort: split

import sys
from collections.abc import Sequence

from common.characters import shortened
from common.command_line import parse, run
from common.stop_signals import StopSignals
from generation.font_file import FontConfig, make_font


def main(arguments: Sequence[str] | None = None) -> int:
    """Trace and write; returns the exit status."""
    config = parse(FontConfig, arguments, __doc__, program="make_font.py")

    def work(_stop: StopSignals) -> None:
        characters, left_out = make_font(config)
        for one in characters:
            typed = f"type {one.typed}" if one.typed else "its words cannot be typed"
            print(f"U+{one.code_point:04X}  {shortened(one.words)}: {typed}")
        for reason in left_out:
            print(f"left out: {reason}", file=sys.stderr)
        print(f"font: {config.output}, {len(characters)} character{'s' * (len(characters) != 1)}")

    return run(work, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
