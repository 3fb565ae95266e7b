"""Many glyphs drawn on several processes, in order, however the run is stopped."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from errors import UserError
from render import InkError, Pen, png
from svg_paths import Stroke

_CHUNK = 64  # glyphs that a worker gets at a time
_STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def render_all(glyphs: list[tuple[Stroke, ...]], pen: Pen, workers: int) -> Iterator[bytes | str]:
    """For each glyph, in order, its PNG's bytes or, as text, the reason why its picture is refused.

    Raises UserError where a process was killed from outside.
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


def _png_or_reason(glyphs: list[tuple[Stroke, ...]], pen: Pen) -> list[bytes | str]:
    results: list[bytes | str] = []
    for strokes in glyphs:
        try:
            results.append(png(strokes, pen))
        except InkError as error:
            results.append(str(error))
    return results


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
