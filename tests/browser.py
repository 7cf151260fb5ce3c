"""A headless Chromium that tests look at pages with, through its debugging pipe.

``with Browser(folder) as browser: page = browser.open(url, width=390)`` waits until a condition
holds (``until``, JavaScript), and keeps what the page wrote to its console and what it asked for.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CHROMIUM", "Browser", "Page"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 90
"""Seconds that a page may take."""


@dataclass
class Page:
    """An open page.

    Attributes
    ----------
    errors
        Uncaught exceptions, and what was written to the console as an error.
    requests
        Addresses that it asked for, all frames together, without ``data:`` and ``blob:``.
    """

    browser: "Browser"
    session: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def ask(self, expression: str) -> object:
        """Return the value of a JavaScript expression (of its promise, if it is one)."""
        answer = self.browser.call(
            "Runtime.evaluate",
            session=self.session,
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript condition holds."""
        end = time.monotonic() + PATIENCE
        while not self.ask(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition} never came true; {self.errors}"
            time.sleep(0.1)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        answer = self.browser.call(
            "Page.captureScreenshot", session=self.session, captureBeyondViewport=whole
        )
        path.write_bytes(base64.b64decode(answer["data"]))


class Browser:
    """One process of Chromium; ``folder`` is its profile, empty at first."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.pages: dict[str, Page] = {}
        self._number, self._buffer = 0, b""

    def __enter__(self) -> "Browser":
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        words = [CHROMIUM, *FLAGS, f"--user-data-dir={self.folder}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", *words],
            pass_fds=(commands, answers),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def open(
        self,
        url: str,
        width: int = 1280,
        height: int = 900,
        until: str = "true",
        dark: bool = False,
    ) -> Page:
        """Open a page, wait until it is loaded and ``until`` holds."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session=session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", session=session, **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", session=session, features=scheme)
        self.call("Page.navigate", session=session, url=url)
        page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        page.wait(until)
        return page

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict:
        """Send a command and return its result; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._keep(answer)

    def _read(self) -> dict:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 16)
            assert part, "Chromium has ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _keep(self, event: dict) -> None:
        page, about = self.pages.get(event.get("sessionId")), event.get("params", {})
        if page is None:
            return
        if event["method"] == "Runtime.exceptionThrown":
            page.errors.append(json.dumps(about["exceptionDetails"])[:400])
        elif event["method"] == "Runtime.consoleAPICalled" and about["type"] == "error":
            page.errors.append(json.dumps(about["args"])[:400])
        elif event["method"] == "Log.entryAdded" and about["entry"]["level"] == "error":
            page.errors.append(about["entry"]["text"][:400])
        elif event["method"] == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith(("data:", "blob:")):
                page.requests.append(url)
