"""A headless Chromium over its debugging pipe: no driver, no port, no package.

The protocol is Chromium's own (chromedevtools.github.io/devtools-protocol): JSON messages that end in a zero byte, read
by the browser from file descriptor 3 and written to 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LIMIT_S = 240  # for one answer; a busy machine may need a minute


def find_browser() -> str | None:
    """The path of an installed Chromium, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page in a headless browser without network, as a context manager; `loopback`: but for this machine's own."""

    def __init__(self, profile: Path, width: int = 1200, height: int = 900, loopback: bool = False) -> None:
        self.profile, self.size, self.loopback = profile, (width, height), loopback
        self.faults: list[str] = []  # exceptions in the page, failed loads and requests that left it
        self._count, self._buffer, self._session = 0, b"", None

    def __enter__(self) -> Browser:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--disable-background-networking",
                   "--host-resolver-rules=MAP * ~NOTFOUND" + ", EXCLUDE 127.0.0.1" * self.loopback,
                   f"--user-data-dir={self.profile}", f"--window-size={self.size[0]},{self.size[1]}",
                   "--remote-debugging-pipe", "about:blank"]
        # bash puts the two pipes where Chromium looks for them (dash knows no descriptor above 9)
        shell = ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", *command]
        self._process = subprocess.Popen(shell, pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def open(self, path: Path) -> None:
        """Open a file and wait until it has loaded."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def visit(self, url: str) -> None:
        """Open a page of a server on this machine and wait until it has loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.protocol === 'http:'")

    def type(self, text: str) -> None:
        """Type into what has the focus, in the place of what it holds."""
        self.evaluate("document.activeElement.select()")
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press one key: Tab, Enter or a space."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key.replace(" ", "Space"), text=text,
                      windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Give the page a size in CSS px, as a phone has it where `mobile`."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Save a PNG of what is seen, or of the `whole` page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True,
                           userGesture=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        position = self.evaluate(f"""(() => {{ const found = document.querySelector({json.dumps(selector)});
            found.scrollIntoView({{block: 'center'}}); const box = found.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=position[0], y=position[1], button="left", clickCount=1)

    def download_to(self, folder: Path) -> None:
        """Let downloads go to a folder."""
        self.call("Browser.setDownloadBehavior", page=False, behavior="allow", downloadPath=str(folder))

    def wait_for(self, script: str) -> None:
        """Ask until an expression is true. Raises TimeoutError after LIMIT_S."""
        until = time.monotonic() + LIMIT_S
        while not self.evaluate(script):
            if time.monotonic() > until:
                raise TimeoutError(script)

    def call(self, method: str, page: bool = True, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; events on the way are noted."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session and page and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.faults.append(str(parameters["exceptionDetails"]))
        if event.get("method") == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            own = ("http://127.0.0.1:", "ws://127.0.0.1:") if self.loopback else ()
            if not url.startswith(("file:", "data:", "blob:", "about:", *own)):
                self.faults.append(f"it asks for {url}")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], LIMIT_S)[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._in, 1 << 16)
            if not data:
                raise RuntimeError("the browser has ended")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)
