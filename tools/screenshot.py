"""Takes a screenshot of a page in headless Chromium, and says what went wrong in the page.

    python tools/screenshot.py http://127.0.0.1:8080/ page.png --dark --width 390 --full-page --wait-for 'body[data-ready]'

It speaks the DevTools protocol itself, over a WebSocket: nothing beyond the daemon's own dependencies and Debian's Chromium.
Exit codes: 0 ok, 1 the page failed (errors, refused by its content security policy, never became ready), 2 no Chromium.
"""

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

CURE = "no Chromium found: install it with `apt-get update && apt-get install -y chromium`, or name it with --chromium"
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
    "--remote-debugging-port=0",
)
ANSWER_S = 20.0
CONDITION = """new Promise((resolve) => {
  const look = () => (%s) ? resolve(true) : setTimeout(look, 30);
  look();
})"""


class PageError(Exception):
    """The page did not do what was asked; the text says what and why."""


def find_chromium() -> str | None:
    """The path of Debian's Chromium, or None when it is not installed."""
    return shutil.which("chromium")


class Page:
    """One tab, driven over the DevTools protocol.

    Attributes:
        failures: what went wrong in the page so far: exceptions, console errors, violations of its content security policy, dialogs.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.failures: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session: str | None = None
        self._reader = asyncio.create_task(self._read())

    async def open(self) -> None:
        """Makes the tab and starts listening to what happens in it."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def close(self) -> None:
        """Stops listening."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The browser's answer to one command.

        Raises:
            PageError: it refused the command, or gave no answer in time.
        """
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": number, "method": method, "params": parameters, **session})
        try:
            message = await asyncio.wait_for(answer, ANSWER_S)
        except TimeoutError:
            raise PageError(f"{method} gave no answer within {ANSWER_S:.0f} s") from None
        finally:
            del self._waiting[number]
        if "error" in message:
            raise PageError(f"{method}: {message['error']['message']}")
        return dict(message["result"])

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever the page's expression gives
        """The value of a JavaScript expression in the page; a promise is awaited.

        Raises:
            PageError: the expression threw, or its promise did not resolve in time.
        """
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {_exception(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    async def wait_until(self, condition: str) -> None:
        """Returns when a JavaScript condition holds; raises PageError when it does not in time."""
        try:
            await self.evaluate(CONDITION % condition)
        except PageError as error:
            raise PageError(
                f"the page never came to: {condition} ({error}); {'; '.join(self.failures) or 'it reported no error'}"
            ) from None

    async def show(self, url: str, *, width: int = 1280, height: int = 900, scale: float = 1.0, dark: bool = False) -> None:
        """Loads a page in a window of this size (CSS pixels) and colour scheme."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        answer = await self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise PageError(f"{url}: {answer['errorText']}")
        await self.wait_until("document.readyState === 'complete'")

    async def picture(self, *, full_page: bool = False) -> bytes:
        """The page as PNG, as it stands: what the window shows, or all of it."""
        parameters: dict[str, object] = {"format": "png"}
        if full_page:
            await self.evaluate("window.scrollTo({top: 0, behavior: 'instant'})")  # else a sticky header stands in the middle
            size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
            parameters |= {
                "captureBeyondViewport": True,
                "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1},
            }
        return base64.b64decode((await self.call("Page.captureScreenshot", **parameters))["data"])

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame.data)
            waiting = self._waiting.get(message.get("id", -1))
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
            elif "method" in message:
                await self._notice(message["method"], message["params"])

    async def _notice(self, method: str, event: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.failures.append(_exception(event["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and event["type"] in {"error", "assert"}:
            self.failures.append(" ".join(str(value.get("value", value.get("description", ""))) for value in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.failures.append(f"{event['entry']['text']} {event['entry'].get('url', '')}".strip())
        elif method == "Page.javascriptDialogOpening":
            self.failures.append(f"a dialog opened: {event['message']}")
            number = next(self._numbers)
            close = {"id": number, "method": "Page.handleJavaScriptDialog", "params": {"accept": False}, "sessionId": self._session}
            await self._socket.send_json(close)


def _exception(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details.get("text", "an exception without text"))


@contextlib.asynccontextmanager
async def browse(chromium: str) -> AsyncIterator[Page]:
    """A tab of a new Chromium with an empty profile; both are gone afterwards.

    Raises:
        PageError: Chromium did not start; the text has the end of what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        drain: asyncio.Task[None] | None = None
        try:
            address = await asyncio.wait_for(_devtools_address(process), ANSWER_S)
            drain = asyncio.create_task(_discard(process))
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                try:
                    await page.open()
                    yield page
                finally:
                    await page.close()
        finally:
            if drain is not None:
                drain.cancel()
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _devtools_address(process: asyncio.subprocess.Process) -> str:
    printed: list[str] = []
    assert process.stderr is not None  # noqa: S101 - it was asked for as a pipe
    async for line in process.stderr:
        text = line.decode(errors="replace").strip()
        printed.append(text)
        if text.startswith("DevTools listening on "):
            return text.removeprefix("DevTools listening on ")
    raise PageError("Chromium did not start: " + " | ".join(printed[-5:]))


async def _discard(process: asyncio.subprocess.Process) -> None:
    """Keeps the pipe empty, so that Chromium never blocks on its own log."""
    assert process.stderr is not None  # noqa: S101 - it was asked for as a pipe
    while await process.stderr.read(65_536):
        pass


async def take(chromium: str, options: argparse.Namespace) -> tuple[bytes, list[str]]:
    """The picture that was asked for as PNG, and what went wrong in the page."""
    async with browse(chromium) as page:
        await page.show(options.url, width=options.width, height=options.height, scale=options.scale, dark=options.dark)
        for selector in options.wait_for:
            await page.wait_until(f"document.querySelector({json.dumps(selector)})")
        for selector in options.click:
            await page.wait_until(f"document.querySelector({json.dumps(selector)})")
            await page.evaluate(f"document.querySelector({json.dumps(selector)}).dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
        if options.click:
            await page.evaluate(f"new Promise((resolve) => setTimeout(resolve, {options.settle_ms}))")
        return await page.picture(full_page=options.full_page), page.failures


def main() -> int:
    """Reads the command line and returns the exit code."""
    parser = argparse.ArgumentParser(description="Screenshot of a page in headless Chromium.")
    parser.add_argument("url")
    parser.add_argument("out", help="the PNG file to write")
    parser.add_argument("--width", type=int, default=1280, help="CSS pixels; below 600 a phone is emulated")
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels per CSS pixel")
    parser.add_argument("--dark", action="store_true", help="prefers-color-scheme: dark")
    parser.add_argument("--full-page", action="store_true", help="all of the page, not only what the window shows")
    parser.add_argument(
        "--wait-for", action="append", default=[], metavar="SELECTOR", help="until the page has such an element; repeatable"
    )
    parser.add_argument("--click", action="append", default=[], metavar="SELECTOR", help="before the picture; repeatable")
    parser.add_argument("--settle-ms", type=int, default=500, help="between the last click and the picture")
    parser.add_argument("--chromium", default=find_chromium(), help="default: the one on the PATH")
    options = parser.parse_args()
    if not options.chromium or not shutil.which(options.chromium):
        print(CURE, file=sys.stderr)
        return 2
    try:
        picture, failures = asyncio.run(take(options.chromium, options))
        Path(options.out).write_bytes(picture)
    except (PageError, TimeoutError, OSError) as error:
        print(f"screenshot failed: {error}", file=sys.stderr)
        return 1
    for failure in failures:
        print(f"the page reported: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
