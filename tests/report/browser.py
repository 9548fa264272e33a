"""A headless Chromium to look at pages with, spoken to over a pipe in the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next((found for name in ("chromium", "chromium-headless-shell", "google-chrome") if (found := shutil.which(name))), None)

PATIENCE = 20
"""Seconds in which a browser has to answer."""

_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Tab": 9, "Enter": 13}


class Browser:
    """One page. `complaints`: what it wrote to the console as a warning or an error, and what was raised there."""

    def __init__(self, profile: Path, width: int = 1200, height: int = 900) -> None:
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()
        assert CHROMIUM is not None
        # The protocol's pipe: the browser reads file descriptor 3 and writes 4.
        shell = f'exec "$0" "$@" 3<&{theirs} 4>&{ours}'
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={profile}",
            "--disable-background-networking", "--disable-component-update", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(["bash", "-c", shell, CHROMIUM, *options], pass_fds=(theirs, ours), stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(ours)
        self._rest, self._number, self._session = b"", 0, ""
        self.complaints: list[str] = []
        self._events: list[dict[str, Any]] = []
        (target,) = [one for one in self._ask("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._to)
        os.close(self._from)
        self._process.terminate()
        self._process.wait()

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """A window of another size."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._ask("Emulation.setEmulatedMedia", features=scheme)

    def open(self, url: str) -> None:
        """Load a page and wait for it."""
        self._events.clear()
        elsewhere = "loaderId" in self._ask("Page.navigate", url=url)  # else only the part behind # has changed
        while elsewhere and not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._read()

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        for what in ("rawKeyDown", "keyUp"):
            self._ask("Input.dispatchKeyEvent", type=what, key=key, code=key, windowsVirtualKeyCode=_KEYS[key])

    def value(self, script: str) -> Any:
        """What a JavaScript expression gives."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def becomes(self, script: str, wanted: Any) -> bool:
        """Whether an expression gives what is wanted, now or soon."""
        until = time.monotonic() + PATIENCE
        while self.value(script) != wanted:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def text(self, selector: str) -> str:
        """The text of the first element that is like it."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).textContent"))

    def click(self, selector: str) -> None:
        """Click the first element that is like it."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def picture(self, file: Path) -> None:
        """The whole page as PNG."""
        answer = self._ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def printed(self) -> bytes:
        """The page as it is printed: PDF."""
        return base64.b64decode(self._ask("Page.printToPDF")["data"])

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._from], [], [], PATIENCE)[0], "the browser does not answer"
            more = os.read(self._from, 1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        one, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        if "method" in message:
            self._events.append(message)
            params = message["params"]
            if message["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            elif message["method"] == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
                self.complaints.append(params["entry"]["text"])
            elif message["method"] == "Runtime.consoleAPICalled" and params["type"] in ("warning", "error", "assert"):
                self.complaints.append(str(params["args"]))
        return message
