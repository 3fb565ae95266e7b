"""From the settings of demo.py to a page that is served until it is stopped; says so where gradio is missing."""

from __future__ import annotations

import importlib.util
import shlex
import sys
import threading
from pathlib import Path

from common.errors import UserError
from page.config import DemoConfig

GRADIO = "gradio>=6.31,<7"  # not in requirements.txt: it wants pillow < 13, and would hold all else back with it


def require_gradio() -> None:
    """Raise UserError, with the command that installs it, where gradio is not installed."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError(f"the page needs gradio, which is not installed; this installs it: {install_command()}")


def install_command() -> str:
    """The command that installs gradio into the environment of this Python."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(str(python))} -m pip install {shlex.quote(GRADIO)}"


def serve_until_stopped(config: DemoConfig) -> None:
    """Load the model, serve the page, and say where it is; returns never, but a signal raises Stopped out of it.

    Raises UserError where a model, the planner, the judge or a free port cannot be had.
    """
    from page.layout import serve  # gradio takes a second, and is not there for those who only ask for --help
    from page.studio import Studio

    print("loading the model ...", flush=True)
    studio = Studio(config)
    blocks, url = serve(studio)
    try:
        print(f"the page: {url}", flush=True)
        threading.Event().wait()
    finally:
        blocks.close(verbose=False)
