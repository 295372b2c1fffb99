"""A headless Chromium, driven over its debugging pipe with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pochette.engine.runner import FloatArray

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
    "--hide-scrollbars",
)


def chromium() -> str:
    """The browser's path; skips the test if there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs a browser: apt-get install chromium")
    return found


class Browser:
    """One page in one browser; a context manager."""

    def __init__(self, url: str, size: tuple[int, int] = (1280, 860), scale: float = 1, mobile: bool = False) -> None:
        self.url, self.size, self.scale, self.mobile = url, size, scale, mobile
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        self._profile = tempfile.mkdtemp(prefix="pochette-browser-")
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        def numbered() -> None:  # the browser listens at descriptor 3 and speaks at 4
            spares = os.dup(to_read), os.dup(to_write)
            for spare, number in zip(spares, (3, 4), strict=True):
                os.dup2(spare, number)
                os.set_inheritable(number, True)

        self._process = subprocess.Popen(
            [chromium(), *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=numbered,  # noqa: PLW1509 - the only way to choose descriptor numbers; these tests have no threads
            close_fds=False,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._count, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        width, height = self.size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=self.scale,
            mobile=self.mobile,
        )
        if self.mobile:
            self.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
        self.call("Page.navigate", url=self.url)
        self.wait_for("document.readyState === 'complete'")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            answer = self._next(deadline)
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self.events.append(answer)
        raise TimeoutError(method)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._read, 1 << 16) if ready else b""
            if not chunk:
                raise TimeoutError("the browser is silent")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(line))

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; promises are awaited, exceptions fail the test."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 20) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.05)

    def audio(self, expression: str) -> FloatArray:
        """The value of an expression that gives a Float32Array."""
        text = self.evaluate(
            f"(async () => {{ const bytes = new Uint8Array((await ({expression})).buffer); let text = '';"
            " for (let at = 0; at < bytes.length; at += 32768)"
            " text += String.fromCharCode(...bytes.subarray(at, at + 32768)); return btoa(text); })()"
        )
        return np.frombuffer(base64.b64decode(text), np.float32)

    def key(self, kind: str, code: str, key: str = "") -> None:
        """A key of the computer keyboard: kind "keyDown" or "keyUp"."""
        self.call("Input.dispatchKeyEvent", type=kind, code=code, key=key or code)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """The mouse: "mousePressed", "mouseReleased", "mouseMoved" or "mouseWheel"."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **{"button": "left", "clickCount": 1, **more})

    def place(self, selector: str, down: float = 0.5) -> tuple[float, float]:
        """The middle of an element, `down` of its height from its top."""
        box = self.evaluate(f"(({{x, y, width, height}}) => [x, y, width, height])({_box(selector)})")
        return box[0] + box[2] / 2, box[1] + box[3] * down

    def screenshot(self, path: Path) -> Path:
        """What is seen, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path

    def complaints(self) -> list[str]:
        """Errors of scripts, of the log and of the content security policy."""
        self.evaluate("0")
        found = [event for event in self.events if event["method"] == "Runtime.exceptionThrown"]
        found += [
            event
            for event in self.events
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"
        ]
        return [json.dumps(event["params"])[:600] for event in found]

    def requests(self) -> list[str]:
        """Addresses that were asked for."""
        self.evaluate("0")
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [str(event["params"]["request"]["url"]) for event in sent]


def _box(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
