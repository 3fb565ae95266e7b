"""A TrueType font of drawn characters: at private-use code points, and in the place of their words as these are typed.

Format: OpenType specification 1.9. A character's outline is svg.py's tracing, its curves brought from cubic to
quadratic ones; a ligature (GSUB, feature liga) puts it in the place of its words' letters. The letters are Aileron's by
Sora Sagano (CC0), which Pillow brings along; of a letter that it lacks an empty box is shown.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.areaPen import AreaPen
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.recordingPen import DecomposingRecordingPen, RecordingPen
from fontTools.pens.transformPen import TransformPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.svgLib.path import parse_path
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._g_l_y_f import Glyph
from PIL import Image, ImageFont

from generation.font_names import glyph_names, letter_name, spellings, typed_words
from generation.svg import outlines

UNITS = 1000  # to the em, the side of a character's square
ASCENT, DESCENT = 880, -120  # units, of the square's upper and lower side from the base line, as CJK fonts have them
MAX_ERROR = 0.5  # units, between a cubic curve and the quadratic ones in its place
FIRST_POINTS = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))  # Unicode's private use
MAX_CHARACTERS = 60_000  # a font has at most 65,535 glyphs
MADE = 3_849_984_000  # 2026-01-01 in seconds since 1904: the same pictures make the same bytes
VERSION = "Version 1.000"
ASCII = "".join(map(chr, range(0x20, 0x7F)))
LICENCE_URL = "https://creativecommons.org/licenses/by-sa/4.0/"
LICENCE = f"This font is under Creative Commons Attribution-ShareAlike 4.0 ({LICENCE_URL})."
ATTRIBUTION = (
    "Its characters were drawn by a model that was trained on the works of others. KanjiVG, the strokes: Copyright (C) "
    "2009-2026 Ulrich Apel and the KanjiVG contributors, Creative Commons Attribution-ShareAlike 3.0 "
    "(https://creativecommons.org/licenses/by-sa/3.0/), https://kanjivg.tagaini.net. KANJIDIC2, the English meanings: "
    "The property of the Electronic Dictionary Research and Development Group (EDRDG), used in conformance with the "
    "Group's licence (https://www.edrdg.org/edrdg/licence.html), Creative Commons Attribution-ShareAlike 4.0, "
    "https://www.edrdg.org/wiki/index.php/KANJIDIC_Project. Latin letters: Aileron by Sora Sagano, CC0.")


@dataclass(frozen=True)
class FontCharacter:
    """A character of the font: its words, its outline (y up, units), its advance (units), code point and glyph's name.

    typed: what is typed for it, in small letters; None where no ligature can be made.
    """

    words: str
    outline: Glyph
    advance: int
    code_point: int
    name: str
    typed: str | None


def characters_of(pictures: Sequence[tuple[str, Image.Image]]) -> list[FontCharacter]:
    """The characters of some pictures with ink, each given with its words; code points in the order given."""
    words = [one for one, _ in pictures]
    letters = letters_for(words)
    names = glyph_names(words, [".notdef", *map(letter_name, letters)])
    points = [point for points in FIRST_POINTS for point in points]
    return [FontCharacter(one, traced(image), round(UNITS * image.width / image.height), point, name, typed)
            for (one, image), point, name, typed in zip(pictures, points, names, typed_words(words), strict=False)]


def traced(image: Image.Image) -> Glyph:
    """The outline of a picture's ink, its height the em; of a picture without ink it has no contours."""
    scale = UNITS / image.height
    drawn = RecordingPen()
    moved = TransformPen(drawn, (scale, 0, 0, -scale, 0, ASCENT))
    for outline in outlines(image):
        parse_path(outline, moved)
    area = AreaPen()
    drawn.replay(area)
    pen = TTGlyphPen(None)
    # TrueType's outer contours run clockwise, and those of holes the other way: as seen, of less area than none
    drawn.replay(Cu2QuPen(pen, MAX_ERROR, reverse_direction=area.value > 0))
    return pen.glyph()


def letters_for(words: Iterable[str]) -> list[str]:
    """The letters that are typed: ASCII's, and all that the words have, in both cases."""
    ways = [way for one in words if (typed := typed_words([one])[0]) for way in spellings(typed, one)]
    return [*ASCII, *sorted(set("".join(ways)) - set(ASCII))]


def font_of(characters: Sequence[FontCharacter], family: str, style_name: str = "Regular") -> TTFont:
    """The font of some characters, in the order given, with its licence and attribution; to be saved by the caller."""
    letters = letters_for(one.words for one in characters)
    drawn_letters = _letter_glyphs(letters)
    glyphs = {".notdef": _box()} | {letter_name(letter): drawn_letters[letter] for letter in letters}
    glyphs |= {one.name: (one.outline, one.advance) for one in characters}
    builder = FontBuilder(UNITS, isTTF=True)
    builder.setupHead(unitsPerEm=UNITS, created=MADE, modified=MADE)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(letter): letter_name(letter) for letter in letters}
                              | {one.code_point: one.name for one in characters})
    builder.setupGlyf({name: glyph for name, (glyph, _) in glyphs.items()})
    table = builder.font["glyf"]
    builder.setupHorizontalMetrics({name: (advance, getattr(table[name], "xMin", 0))
                                    for name, (_, advance) in glyphs.items()})
    builder.setupHorizontalHeader(ascent=ASCENT, descent=DESCENT)
    builder.setupOS2(sTypoAscender=ASCENT, sTypoDescender=DESCENT, sTypoLineGap=0, usWinAscent=ASCENT,
                     usWinDescent=-DESCENT, fsType=0, achVendID="NONE")  # fsType 0: may be installed and embedded
    builder.setupNameTable(_names(family, style_name), mac=False)
    builder.setupPost()
    builder.addOpenTypeFeatures(_ligatures(characters))
    return builder.font


def _names(family: str, style_name: str) -> dict[str, str]:
    plain = "".join(letter for letter in family if letter.isascii() and letter.isalnum())[:63 - 8] or "Kanji"
    return {"copyright": ATTRIBUTION, "familyName": family, "styleName": style_name,
            "uniqueFontIdentifier": f"{VERSION};{plain}-{style_name}", "fullName": family, "version": VERSION,
            "psName": f"{plain}-{style_name}", "description": f"{LICENCE} {ATTRIBUTION}",
            "licenseDescription": f"{LICENCE} {ATTRIBUTION}", "licenseInfoURL": LICENCE_URL}


def _ligatures(characters: Sequence[FontCharacter]) -> str:
    """The feature that turns words into characters, in the language of Adobe's feature files.

    Of several that begin alike the longest is taken; names are escaped, or "mark" were a keyword.
    """
    rules: dict[str, str] = {}
    for one in characters:
        for way in spellings(one.typed, one.words) if one.typed else ():
            rules.setdefault(" ".join(f"\\{letter_name(letter)}" for letter in way), one.name)
    lines = "\n".join(f"  sub {letters} by \\{name};" for letters, name in rules.items())
    return ("languagesystem DFLT dflt;\nlanguagesystem latn dflt;\n"
            f"feature liga {{\n lookup words {{\n{lines}\n }} words;\n}} liga;\n") if rules else ""


def _letter_glyphs(letters: Iterable[str]) -> Mapping[str, tuple[Glyph, int]]:
    """Outline and advance of each letter: Aileron's, or an empty box."""
    with TTFont(io.BytesIO(ImageFont.load_default(UNITS).font_bytes)) as font:
        scale, names, glyphs = UNITS / font["head"].unitsPerEm, font.getBestCmap(), font.getGlyphSet()
        found = {}
        for letter in letters:
            if (name := names.get(ord(letter))) is None:
                found[letter] = _box()
                continue
            drawn, pen = DecomposingRecordingPen(glyphs), TTGlyphPen(None)
            glyphs[name].draw(drawn)
            drawn.replay(TransformPen(pen, (scale, 0, 0, scale, 0, 0)))
            found[letter] = pen.glyph(), round(scale * glyphs[name].width)
    return found


def _box() -> tuple[Glyph, int]:
    """What stands for a letter that is not there: a frame, and its advance."""
    pen = TTGlyphPen(None)
    for left, low, right, high in ((60, 0, 440, 700), (400, 40, 100, 660)):  # the inner one runs the other way
        for move, x, y in ((pen.moveTo, left, low), (pen.lineTo, left, high), (pen.lineTo, right, high),
                           (pen.lineTo, right, low)):
            move((x, y))
        pen.closePath()
    return pen.glyph(), 500
