"""Debian's Chromium over its debugging protocol: open a page, look at it, hear what its policy refused.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""None where there is no Chromium: the suite says so and skips."""

FLAGS = (
    "--headless",
    "--no-sandbox",  # the suite may run as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
START_TIMEOUT = 60
"""Seconds; the first start on a busy machine is slow."""
MESSAGE_CAP = 64 * 2**20
"""Bytes; a screenshot is one message."""


class PageError(Exception):
    """A script in the page threw."""


class ProtocolError(Exception):
    """The debugging protocol refused a command, for instance because the page was just left."""


@attrs.define
class Page:
    """One tab. Commands may be given from several tasks; what the page complains of is collected meanwhile."""

    complaints: list[str] = attrs.field(factory=list, init=False)
    """Console errors and warnings, uncaught exceptions, failed loads, refusals by the security policy."""
    requests: list[str] = attrs.field(factory=list, init=False)
    """Addresses the page has asked for."""
    _socket: WebSocketConnection
    _session: str = attrs.field(default="", init=False)
    _answers: dict[int, trio.MemorySendChannel[dict[str, Any]]] = attrs.field(factory=dict, init=False)
    _last: int = attrs.field(default=0, init=False)

    async def command(self, method: str, **params: object) -> dict[str, Any]:
        """Give one command of the debugging protocol and return its result."""
        self._last += 1
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._answers[self._last] = send
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.send_message(json.dumps(message))
        answer = await receive.receive()
        if "error" in answer:
            raise ProtocolError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    async def evaluate(self, expression: str) -> Any:
        """Return the JSON value of a JavaScript expression; a promise is awaited."""
        answer = await self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise PageError(answer["exceptionDetails"].get("exception", {}).get("description", expression))
        return answer["result"].get("value")

    async def wait_for(self, expression: str) -> None:
        """Return when the expression holds, in whatever document is there by then. Callers own the timeout."""
        while not await self._holds(expression):  # noqa: ASYNC110 - the event is another program's
            await trio.sleep(0.02)

    async def _holds(self, expression: str) -> bool:
        try:
            return bool(await self.evaluate(f"Boolean({expression})"))
        except ProtocolError:
            return False

    async def go(self, url: str) -> None:
        """Leave the document that is shown for a new one; an address that is shown already is loaded anew."""
        await self.evaluate("window.left = true")
        await self.command("Page.navigate", url=url)
        await self.wait_for("!window.left && document.body")

    async def text(self) -> str:
        """Return what a reader sees, with its line breaks."""
        return str(await self.evaluate("document.body.innerText")).replace("\N{NO-BREAK SPACE}", " ")

    async def screenshot(self, path: Path) -> None:
        picture = await self.command("Page.captureScreenshot", format="png")
        await trio.Path(path).write_bytes(base64.b64decode(picture["data"]))

    async def run(self) -> None:
        """Hand out answers and collect complaints until the browser goes."""
        try:
            while True:
                message = json.loads(await self._socket.get_message())
                if "id" in message:
                    self._answers.pop(message["id"]).send_nowait(message)
                else:
                    self._collect(message["method"], message["params"])
        except ConnectionClosed:
            return

    async def attach(self) -> None:
        """Open the tab that every later command is for, and listen to it."""
        target = await self.command("Target.createTarget", url="about:blank")
        attached = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")

    def _collect(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(params["args"]))


@asynccontextmanager
async def open_page(
    url: str, *, width: int = 1440, height: int = 900, dark: bool = False, still: bool = False, scale: float = 1
) -> AsyncIterator[Page]:
    """Show ``url`` in a browser of its own, with a fresh profile that goes with it.

    ``still`` asks the page for reduced motion; ``scale`` is the number of device pixels per CSS pixel.
    """
    assert PROGRAM is not None, "no Chromium on this machine"
    profile = await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="pharos-chromium-"))
    try:
        async with (
            _open_browser(Path(profile)) as address,
            open_websocket_url(address, max_message_size=MESSAGE_CAP) as socket,
            trio.open_nursery() as nursery,
        ):
            page = Page(socket)
            nursery.start_soon(page.run)
            await page.attach()
            await page.command(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=scale,
                mobile=width < 760,
            )
            features = {
                "prefers-color-scheme": "dark" if dark else "light",
                "prefers-reduced-motion": "reduce" if still else "no-preference",
            }
            await page.command(
                "Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()]
            )
            await page.go(url)
            yield page
            nursery.cancel_scope.cancel()
    finally:
        # Chromium's helpers write to the profile until they are gone.
        shutil.rmtree(profile, ignore_errors=True)


@asynccontextmanager
async def _open_browser(profile: Path) -> AsyncIterator[str]:
    """Run Chromium and yield the WebSocket address of its debugging protocol."""
    async with trio.open_nursery() as nursery:
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        await nursery.start(partial(trio.run_process, command, **quiet))
        chosen = trio.Path(profile) / "DevToolsActivePort"
        with trio.fail_after(START_TIMEOUT):
            # Another program writes this file: there is no event of ours to wait for.
            while len(lines := (await chosen.read_text()).split() if await chosen.exists() else []) != 2:  # noqa: ASYNC110
                await trio.sleep(0.05)
        port, path = lines
        yield f"ws://127.0.0.1:{port}{path}"
        nursery.cancel_scope.cancel()
