"""The page itself: gradio's components, what each click does, and how it is served. Nothing else imports gradio."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import: nothing is counted, no newer version looked for

import gradio as gr

from common.errors import UserError, first_line
from page import cards
from page.config import MAX_CANDIDATES, MAX_LETTERS, MAX_PROMPTS, MAX_SEED, MAX_STROKES, MAX_TYPED, Wish
from page.guard import Guard
from page.plan_row import BOXES, EMPTY_LABELS
from page.studio import Studio
from page.visit import Visit

TITLE = "Kanji that do not exist"
EXAMPLES = ("wind turbine", "Full Moon", "submarine", "jazz", "black hole, camera")
CANDIDATES = 4  # at first
SESSION_S = 6 * 3600  # after which a visit that nobody is at is forgotten
MAX_SESSIONS, MAX_WAITING = 200, 32
# On a narrow screen the gallery lies below the plan, which stands by then; what is asked for is handed on as it is.
SHOW_GALLERY = """(...fields) => {
  if (window.innerWidth < 700) document.getElementById("gallery").scrollIntoView({behavior: "smooth"});
  return fields;
}"""
STYLE = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Row:
    """The components of a plan: all of it, its head, its two boxes, and the button under each."""

    whole: gr.Column
    head: gr.HTML
    boxes: tuple[gr.Textbox, ...]
    swaps: tuple[gr.Button, ...]

    @property
    def outputs(self) -> list[Any]:
        """What an event changes in it."""
        return [self.whole, self.head, *self.boxes]


class Page:
    """The components of the page, wired to a studio."""

    def __init__(self, studio: Studio) -> None:
        """Lay them out; `blocks` is what is served."""
        self.studio = studio
        with gr.Blocks(title=TITLE, analytics_enabled=False) as self.blocks:
            self.visit = gr.State(Visit(), time_to_live=SESSION_S)
            self.found = gr.State(None, time_to_live=SESSION_S)  # the visit with strokes, until these are joined to it
            _html(cards.header())
            with gr.Row(elem_id="columns"):
                with gr.Column(scale=2, min_width=300):
                    self._lay_out_wish()
                with gr.Column(scale=3, min_width=300):
                    self.notes = _html(cards.notes([]))
                    self.gallery = _html(cards.gallery([]), "gallery")
            self.history = _html(cards.history([]), "history")
            _html(cards.footer(studio.judge.references is not None))
            self._wire()

    def _lay_out_wish(self) -> None:
        self.words = gr.Textbox(
            label="Words (commas separate several characters)", placeholder="wind turbine", max_lines=1,
            max_length=MAX_TYPED, autofocus=True, elem_id="words")
        with gr.Row(elem_id="examples"):
            self.examples = [gr.Button(words, size="sm") for words in EXAMPLES]
        with gr.Row():
            self.draw = gr.Button("Draw", variant="primary", elem_id="draw", min_width=120)
            self.plan = gr.Button("Only plan it", elem_id="plan", min_width=120)
        self.rows = [self._lay_out_row(number) for number in range(MAX_PROMPTS)]
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            self.candidates = gr.Slider(1, MAX_CANDIDATES, CANDIDATES, step=1, label="Candidates of each character")
            self.strokes = gr.Number(0, label="Strokes (0: as many as it needs)", precision=0, minimum=0,
                                     maximum=MAX_STROKES)
            self.seed = gr.Number(self.studio.config.seed, label="Seed (another: another picture)", precision=0,
                                  minimum=0, maximum=MAX_SEED)
            self.novel = gr.Checkbox(False, label="A new character also for words that have a kanji", container=False)
            self.model = gr.Dropdown(list(self.studio.models()), value=self.studio.first, label="Model")

    @staticmethod
    def _lay_out_row(number: int) -> Row:
        with gr.Column(visible=False, elem_classes="plan", elem_id=f"plan-{number}") as whole:
            head = _html()
            boxes, swaps = [], []
            with gr.Row(elem_classes="boxes"):
                for box in range(BOXES):
                    with gr.Column(min_width=110):
                        boxes.append(gr.Textbox(label=EMPTY_LABELS[box], max_lines=1, max_length=MAX_LETTERS,
                                                elem_id=f"part-{number}-{box}"))
                        swaps.append(gr.Button("Swap", size="sm", elem_classes="swap", elem_id=f"swap-{number}-{box}"))
        return Row(whole, head, tuple(boxes), tuple(swaps))

    def _wire(self) -> None:
        asked = [self.words, self.model, self.strokes, self.candidates, self.seed, self.novel]
        boxes = [box for row in self.rows for box in row.boxes]
        inputs = [self.visit, *asked, *boxes]
        plans = [self.visit, self.notes, *(output for row in self.rows for output in row.outputs)]
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        drawn = [*plans, self.gallery, self.history]
        chosen = [button.click(lambda words=words: words, None, self.words, **quiet)
                  for button, words in zip(self.examples, EXAMPLES, strict=True)]
        asked_for = gr.on([self.draw.click, self.words.submit, *(box.submit for box in boxes)], self.on_plan, inputs,
                          plans, **quiet)
        for event in [asked_for, *(one.then(self.on_plan, inputs, plans, **quiet) for one in chosen)]:
            at_end = event.then(self.on_draw, inputs, drawn, js=SHOW_GALLERY, api_visibility="private",
                                concurrency_limit=1, concurrency_id="pen", show_progress_on=self.gallery)
            looked = at_end.then(self.on_look, self.visit, [self.found, self.notes], trigger_mode="multiple",
                                 concurrency_limit=1, concurrency_id="strokes", **quiet)
            looked.then(self.on_found, [self.visit, self.found], [self.visit, self.gallery], trigger_mode="multiple",
                        **quiet)
        self.plan.click(self.on_plan, inputs, plans, **quiet)
        for number, row in enumerate(self.rows):
            for box, swap in enumerate(row.swaps):
                swap.click(self._on_swap(number, box), inputs, plans, **quiet)
        self.blocks.load(lambda: gr.update(choices=list(self.studio.models())), None, self.model, **quiet)

    def on_plan(self, visit: Visit, *fields: object) -> list[Any]:
        """Show the plans for the words."""
        return self._said(visit, lambda: visit.planned(self.studio, _wish(fields), _texts(fields)))[1]

    def _on_swap(self, number: int, box: int) -> Callable[..., list[Any]]:
        def on_swap(visit: Visit, *fields: object) -> list[Any]:
            return self._said(visit, lambda: visit.swapped(
                self.studio, str(fields[1]), number, box, _texts(fields)))[1]

        return on_swap

    def on_draw(self, visit: Visit, *fields: object, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008 - gradio's way to ask for it
        """Draw by the plans."""
        is_drawn, shown = self._said(visit, lambda: visit.drawn(
            self.studio, _wish(fields), _texts(fields),
            lambda done, of: progress((done, of), desc="drawing", unit="steps")))
        drawn: Visit = shown[0]
        return [*shown, *([cards.gallery(drawn.groups, is_looking=drawn.lacks_strokes),
                           cards.history(drawn.history[len(drawn.groups):])] if is_drawn else [gr.skip()] * 2)]

    def on_look(self, visit: Visit) -> list[Any]:
        """Look for the strokes of what was drawn, an event of its own: nobody waits for these to draw again."""
        if not visit.lacks_strokes:
            return [None, gr.skip()]
        is_found, shown = self._said(visit, lambda: (visit.with_strokes(self.studio), []))
        return [shown[0], gr.skip() if is_found else shown[1]]

    @staticmethod
    def on_found(visit: Visit, found: Visit | None) -> list[Any]:
        """Show the strokes that were found, unless something else was drawn meanwhile."""
        joined = visit if found is None else visit.joined(found)
        return [gr.skip()] * 2 if joined is visit else [joined, cards.gallery(joined.groups)]

    def _said(self, visit: Visit, work: Callable[[], tuple[Visit, list[str]]]) -> tuple[bool, list[Any]]:
        """Whether something could be done, and the outputs for it: what cannot be done is said on the page."""
        try:
            visit, lines = work()
        except (UserError, ValueError) as error:
            return False, [visit, cards.notes([str(error)], is_problem=True), *_kept()]
        except (OSError, MemoryError, RuntimeError) as error:
            logging.getLogger(__name__).exception("the page could not do what was asked for")
            line = f"That did not work ({type(error).__name__}); what you had is still there."
            return False, [visit, cards.notes([line], is_problem=True), *_kept()]
        return True, [visit, cards.notes(lines), *_rows(visit)]


def _html(value: str = "", name: str | None = None) -> gr.HTML:
    return gr.HTML(value, elem_id=name, apply_default_css=False)


def _wish(fields: tuple[object, ...]) -> Wish:
    return Wish.of(*fields[:6])


def _texts(fields: tuple[object, ...]) -> list[tuple[object, ...]]:
    boxes = fields[6:]
    return [tuple(boxes[start:start + BOXES]) for start in range(0, len(boxes), BOXES)]


def _kept() -> list[Any]:
    return [gr.skip()] * (MAX_PROMPTS * (2 + BOXES))


def _rows(visit: Visit) -> list[Any]:
    """The updates of all rows: those of the visit's plans, and the others hidden."""
    outputs: list[Any] = []
    for row in visit.rows:
        boxes = [gr.update(value=text, label=label) for text, label in zip(row.texts, row.labels, strict=True)]
        outputs += [gr.update(visible=True), cards.plan_head(row), *boxes]
    hidden = [gr.update(visible=False), "", *[gr.update(value="")] * BOXES]
    return outputs + hidden * (MAX_PROMPTS - len(visit.rows))


def serve(studio: Studio) -> tuple[gr.Blocks, str]:
    """Start serving the page, on loopback where gradio's own variables say nothing else; returns it and its address.

    Raises OSError where no port is free, and UserError where gradio cannot reach what it serves.
    """
    for name in ("no_proxy", "NO_PROXY"):  # gradio looks whether its page answers: no proxy's business
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))
    blocks = Page(studio).blocks.queue(max_size=MAX_WAITING, api_open=False)
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    try:
        _, url, _ = blocks.launch(
            prevent_thread_lock=True, quiet=True, share=False, theme=theme, css=STYLE.read_text(encoding="utf8"),
            footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False,
            max_file_size=1, state_session_capacity=MAX_SESSIONS, app_kwargs={"middleware": [(Guard, (), {})]})
    except ValueError as error:
        blocks.close(verbose=False)
        raise UserError(f"the page was started but does not answer ({first_line(error)})") from None
    return blocks, url
