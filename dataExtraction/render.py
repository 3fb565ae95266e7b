"""Strokes -> an 8-bit grey PNG, black ink on white.

The fast way: the parsed curves, drawn with cairocffi (CairoSVG's own backend) on an 8-bit alpha surface. The slow
way, for comparison and for other programs: a clean SVG of the strokes alone, for CairoSVG.
"""

import contextlib
import io
import multiprocessing
import operator
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait

from errors import UserError
from kanjivg import UNITS
from paths import Stroke, path_data

_CHUNK = 64  # glyphs that a worker gets at a time
# Ink, as a share of the picture's area, for each KanjiVG unit of stroke width: real kanji have 0.003 to 0.075.
_MIN_INK, _MAX_INK = 0.001, 0.12
PNG_LEVEL = 4  # zlib's: half the time of 6 for 7 % more bytes; fixed, so that bytes depend on pixels alone


class InkError(ValueError):
    """A picture with too little or too much ink to be a character."""


@dataclass(frozen=True)
class Pen:
    """How strokes are drawn."""

    size: int = 128  # px, the side of the picture
    stroke_width: float = 3.0  # KanjiVG units, of 109 to the side


def clean_svg(strokes: Iterable[Stroke], pen: Pen) -> str:
    """An SVG document of the strokes alone, `pen.size` px wide and high."""
    paths = "".join(f'<path d="{path_data(stroke)}"/>' for stroke in strokes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{pen.size}" height="{pen.size}" viewBox="0 0 {UNITS} {UNITS}">'
        f'<g fill="none" stroke="#000" stroke-width="{pen.stroke_width:g}" stroke-linecap="round" '
        f'stroke-linejoin="round">{paths}</g></svg>'
    )


def draw(strokes: Iterable[Stroke], pen: Pen):
    """The picture of some strokes: a Pillow image of mode L, `pen.size` px square, 0 ink to 255 paper.

    Raises:
        InkError: less ink than any character has, or more.
    """
    import cairocffi
    from PIL import Image, ImageChops

    surface = cairocffi.ImageSurface(cairocffi.FORMAT_A8, pen.size, pen.size)
    context = cairocffi.Context(surface)
    context.scale(pen.size / UNITS, pen.size / UNITS)
    context.set_line_width(pen.stroke_width)
    context.set_line_cap(cairocffi.LINE_CAP_ROUND)
    context.set_line_join(cairocffi.LINE_JOIN_ROUND)
    for start, *curves in strokes:
        context.move_to(*start)
        for curve in curves:
            context.curve_to(*curve)
        context.stroke()  # one by one, as CairoSVG does: where two cross, edges lie over one another
    surface.flush()
    ink = Image.frombuffer("L", (pen.size, pen.size), bytes(surface.get_data()), "raw", "L", surface.get_stride(), 1)
    share = sum(map(operator.mul, range(256), ink.histogram())) / (255 * pen.size * pen.size)
    least, most = _MIN_INK * pen.stroke_width, min(_MAX_INK * pen.stroke_width, 0.9)
    if not least <= share <= most:
        raise InkError(f"ink covers less than {least:.1%} or more than {most:.0%} of the picture")
    return ImageChops.invert(ink)


def png(strokes: Iterable[Stroke], pen: Pen) -> bytes:
    """The picture of some strokes as the bytes of a PNG file. Raises InkError as draw does."""
    data = io.BytesIO()
    draw(strokes, pen).save(data, "PNG", compress_level=PNG_LEVEL)
    return data.getvalue()


def _png_or_reason(glyphs: list[tuple[Stroke, ...]], pen: Pen) -> list[bytes | str]:
    results: list[bytes | str] = []
    for strokes in glyphs:
        try:
            results.append(png(strokes, pen))
        except InkError as error:
            results.append(str(error))
    return results


_STOPS = {signal.SIGINT, signal.SIGTERM}


def _begin_worker() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent has gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    def watch() -> None:
        wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait: a worker whose parent is stopped while it starts it prints a traceback.

    The mask is for the workers, which begin with it. It does not do here: another thread, such as a progress bar's, may
    take the signal, and Python then runs the handler in this one all the same.
    """
    came: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    handlers = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number in came[:1]:
        signal.raise_signal(number)


def render_all(glyphs: list[tuple[Stroke, ...]], pen: Pen, workers: int) -> Iterator[bytes | str]:
    """Render many glyphs, in order, on several processes.

    Returns:
        For each glyph its PNG's bytes, or, as text, the reason why its picture is refused.

    Raises:
        UserError: a process was killed from outside.
    """
    chunks = [glyphs[i : i + _CHUNK] for i in range(0, len(glyphs), _CHUNK)]
    if workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield from _png_or_reason(chunk, pen)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(chunks)), context, initializer=_begin_worker) as pool:
        try:
            with _undisturbed():
                finished = pool.map(_png_or_reason, chunks, [pen] * len(chunks))
            for results in finished:
                yield from results
        except BrokenProcessPool:
            raise UserError("a process that draws was killed (out of memory?). Try fewer: --workers 1") from None
        finally:
            pool.shutdown(cancel_futures=True)
