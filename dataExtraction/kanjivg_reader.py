"""KanjiVG's SVG -> glyphs: strokes and the tree of components.

Format: https://kanjivg.tagaini.net/svg-format.html. Attributes are matched by local name: the DOCTYPE of each file
puts kvg: at http://kanjivg.tagaini.net and its root element at https://.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from errors import UserError
from svg_paths import PathError, Stroke, parse_path
from xml_files import SAFELY, open_xml, readable, refuse_entities

UNITS = 109  # KanjiVG draws in a square of 109 by 109 units
_FARTHEST = 2 * UNITS  # from the middle; no honest stroke comes near it
_MAX_BYTES = 1 << 20  # of one file; KanjiVG's largest has 13 kB
# Slots by other names: the content of an enclosure, and the two kanji that use description characters.
_SLOTS = {"⿵A": "kamae", "⿵B": "kamaec", "⿶1": "kamaec", "⿶2": "kamae"}


class GlyphError(ValueError):
    """A file that cannot be a training picture; the message is the reason, in a few words."""


@dataclass
class Component:
    """A group of strokes: what it is, where it stands, and the groups within it."""

    element: str  # the shape as drawn, such as 氵; "" where KanjiVG names none
    original: str  # the form that carries the meaning, such as 水; the element itself where KanjiVG gives none
    position: str  # left, right, top, bottom, tare, tarec, nyo, nyoc, kamae, kamaec, middle, or ""
    strokes: tuple[int, ...]  # indices into Glyph.strokes, in drawing order
    partial: bool = False  # KanjiVG marks it as incomplete
    part: str | None = None  # KanjiVG's: one of several groups of a component, whose number among its namesakes this is
    children: list[Component] = field(default_factory=list)


@dataclass(frozen=True)
class Glyph:
    """The drawing of one character."""

    literal: str
    strokes: tuple[Stroke, ...]
    slots: tuple[Component, ...]  # the top level of the component tree, split groups joined


def is_kanji(literal: str) -> bool:
    """True for CJK ideographs, unified and compatibility; False for kana, letters, digits, marks and radicals."""
    code = ord(literal)
    return 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF


def parse_svg(name: str, data: bytes) -> Glyph:
    """The glyph in one SVG file of KanjiVG.

    The first part of the file's name, such as 06f22.svg, is the code point in hexadecimal. Raises GlyphError where the
    bytes are not XML, have entities, no strokes, path data that is no stroke, or strokes far outside the square.
    """
    if len(data) > _MAX_BYTES:
        raise GlyphError("larger than 1 MB")
    try:
        root = etree.fromstring(data, etree.XMLParser(**SAFELY))
    except etree.XMLSyntaxError as error:
        raise GlyphError(f"not well-formed XML ({error.msg})") from None
    try:
        refuse_entities(name, root.getroottree())
    except UserError:
        raise GlyphError("declares entities") from None
    view = (root.get("viewBox") or "").replace(",", " ").split()
    if view != ["0", "0", str(UNITS), str(UNITS)]:
        raise GlyphError(f"viewBox is not 0 0 {UNITS} {UNITS}")
    for group in root.iter("{*}g"):
        if (group.get("id") or "").startswith("kvg:StrokePaths"):
            inner = next(iter(group.iterchildren("{*}g")), None)
            return glyph_from_group(literal_of(name), group if inner is None else inner)
    raise GlyphError("no group of stroke paths")


def literal_of(name: str) -> str:
    """The character that a file name or id stands for: 06f22.svg and kvg:kanji_06f22 -> 漢. Raises GlyphError."""
    stem = name.rpartition("/")[2].rpartition("_")[2].partition(".")[0]
    code = int(stem, 16) if re.fullmatch("[0-9a-fA-F]{1,6}", stem) else -1
    if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise GlyphError("name is not a code point in hexadecimal")
    return chr(code)


def glyph_from_group(literal: str, group: etree._Element) -> Glyph:
    """The drawing in one <g> of a character. Raises GlyphError as parse_svg does."""
    strokes: list[Stroke] = []
    root = _component(group, strokes)
    if not strokes:
        raise GlyphError("no strokes")
    slots = [child for child in _join_split_groups(root.children) if child.strokes]
    return Glyph(literal, tuple(strokes), tuple(_name_contents(slots)))


def _component(group: etree._Element, strokes: list[Stroke]) -> Component:
    """The tree below one <g>; its strokes are put at the end of `strokes`."""
    first = len(strokes)
    children = []
    for node in group.iterchildren(etree.Element):
        if node.tag.endswith("}g") or node.tag == "g":
            children.append(_component(node, strokes))
        elif node.tag.endswith("}path") or node.tag == "path":
            strokes.append(_checked_stroke(node.get("d", ""), len(strokes) + 1))
    said = {name.rpartition("}")[2]: value for name, value in group.attrib.items()}
    element, position = said.get("element", ""), said.get("position", "")
    return Component(
        element=element,
        original=said.get("original") or element,
        position=_SLOTS.get(position, position),
        strokes=tuple(range(first, len(strokes))),
        partial=said.get("partial") == "true",
        part=said.get("number", "") if "part" in said else None,
        children=children,
    )


def _checked_stroke(data: str, number: int) -> Stroke:
    try:
        stroke = parse_path(data)
    except PathError as error:
        raise GlyphError(f"stroke {number}: {error}") from None
    values = list(itertools.chain.from_iterable(stroke))
    if min(values) < UNITS / 2 - _FARTHEST or max(values) > UNITS / 2 + _FARTHEST:
        raise GlyphError(f"stroke {number}: lies far outside the square")
    return stroke


def _join_split_groups(children: list[Component]) -> list[Component]:
    """Join groups that KanjiVG splits with part="1", part="2" because other strokes are drawn between them."""
    merged: dict[tuple, Component] = {}
    for index, child in enumerate(children):
        key = (index,) if child.part is None else (child.element, child.part)
        if key in merged:
            whole = merged[key]
            whole.strokes = tuple(sorted(whole.strokes + child.strokes))
            whole.children = whole.children + child.children
            whole.position = whole.position or child.position
        else:
            merged[key] = child
    for child in merged.values():
        child.children = _join_split_groups(child.children)
    return list(merged.values())


def _name_contents(slots: list[Component]) -> list[Component]:
    """Give the one unnamed slot beside an enclosure its name (KanjiVG names it in part of its files only)."""
    positions = [slot.position for slot in slots]
    for outer, content in (("kamae", "kamaec"), ("tare", "tarec"), ("nyo", "nyoc")):
        if sorted(positions) == sorted([outer, ""]):
            slots[positions.index("")].position = content
    return slots


def read_kanjivg(files: Iterable[tuple[str, bytes]]) -> tuple[dict[str, Glyph], dict[str, str]]:
    """The glyphs of many files, given as (name, bytes), by literal; and, by name, why each other file is none.

    Kana and signs are among them too.
    """
    glyphs, rejected = {}, {}
    for name, data in files:
        try:
            glyph = parse_svg(name, data)
            glyphs[glyph.literal] = glyph
        except GlyphError as error:
            rejected[name] = str(error)
    return glyphs, rejected


def walk(component: Component) -> Iterator[Component]:
    """The component and all within it, outermost first."""
    yield component
    for child in component.children:
        yield from walk(child)


def svg_files_of_xml(path: Path) -> list[tuple[str, bytes]]:
    """The characters of a release's one XML file (kanjivg-YYYYMMDD.xml.gz), each as the bytes of an SVG file.

    Raises UserError where it is cut off, not XML, not KanjiVG, or has entity declarations.
    """
    with readable(path, "--kanjivg"), open_xml(path) as stream:
        root = etree.parse(stream, etree.XMLParser(**SAFELY)).getroot()
    refuse_entities(path, root.getroottree())
    if root.tag != "kanjivg":
        raise UserError(f"{path}: not KanjiVG (its root is <{root.tag}>, not <kanjivg>). Name another: --kanjivg")
    files = []
    for node in root.iterchildren("kanji"):
        code = (node.get("id") or "").rpartition("_")[2]
        group = b"".join(etree.tostring(child, with_tail=False) for child in node)
        files.append((f"{code}.svg", _SVG % (UNITS, UNITS, code.encode(), group)))
    return sorted(files)


_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:kvg="http://kanjivg.tagaini.net" viewBox="0 0 %d %d">'
    b'<g id="kvg:StrokePaths_%b">%b</g></svg>'
)
