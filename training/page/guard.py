"""What stands before gradio's server: only the routes that the page uses are open, and nothing is sent abroad.

The page takes no uploads and serves no file of this machine, so gradio's routes for these answer 403; a browser is
told, in a Content-Security-Policy, to load and to send nothing but what comes from here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

OPEN = ("/assets/", "/static/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json", "/pwa_icon",
        "/login", "/logout",  # of the site
        "/gradio_api/queue/", "/gradio_api/heartbeat/", "/gradio_api/startup-events", "/gradio_api/theme.css",
        "/gradio_api/app_id", "/gradio_api/login_check", "/gradio_api/user", "/gradio_api/info", "/gradio_api/reset",
        "/gradio_api/cancel")  # of the events
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; object-src 'none'; "
          "base-uri 'self'; form-action 'self'")
HEADERS = ((b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"),
           (b"x-content-type-options", b"nosniff"))
Message = MutableMapping[str, Any]


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        """`app` is what answers what is let through."""
        self.app = app

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]],
                       send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer 403 where the route is closed, else whatever is behind does, with the headers added."""
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        if scope["type"] == "http" and not is_open(scope["path"]):
            await guarded({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"This page takes no files and gives none."})
        else:
            await self.app(scope, receive, guarded)


def is_open(path: str) -> bool:
    """Whether a path is one that the page uses."""
    return path == "/" or (path.startswith(OPEN) and ".." not in path)
