"""`sentinel webhook`: a test alert to a real server, and verdicts on signatures."""

import asyncio
import io
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from sentinel.alerting import sign
from sentinel.cli.main import COMMANDS, LazyCommand, main

SECRET = "whsec_c2VudGluZWwtc2VudGluZWwtc2VudGluZWw="
KEY = sign.key_of(SECRET)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is there."""
    monkeypatch.setitem(COMMANDS, "webhook", LazyCommand("sentinel.cli.webhook", "webhook", "Send a test alert, or check a signature."))


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with the secret."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    return file


class Server:
    """A receiver on a thread of its own, because the command runs its own event loop."""

    def __init__(self) -> None:
        self.status = 204
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Keep it and answer."""
        self.requests.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status, text="hush: this is never shown" if self.status != 204 else None)


@pytest.fixture
def server() -> Iterator[Server]:
    """Started, and stopped in the end."""
    made, ready, loop = Server(), threading.Event(), asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        handler = web.Server(made.answer)
        listener = await loop.create_server(handler, "127.0.0.1", 0)
        made.port = listener.sockets[0].getsockname()[1]
        ready.set()
        await done.wait()
        listener.close()
        await handler.shutdown(0.1)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(10)
    yield made
    loop.call_soon_threadsafe(done.set)
    thread.join()
    loop.close()


def test_a_test_alert_is_sent_and_marked(server: Server, secret_file: Path, capsys: Capture) -> None:
    """It arrives once, signed, says everywhere that it is a test, and the answer is printed."""
    url = f"http://127.0.0.1:{server.port}/hook?token=hush"
    assert main(["webhook", "send-test", "--url", url, "--secret-file", str(secret_file), "--allow-network", "127.0.0.0/8"]) == 0
    ((headers, body),) = server.requests
    alert = json.loads(body)
    assert sign.matches([KEY], {name.lower(): value for name, value in headers.items()}, body)
    assert (alert["type"], alert["data"]["labels"]) == ("alert.test", {"test": "true"})
    assert "nothing is wrong" in alert["data"]["title"]
    out = capsys.readouterr().out
    assert re.search(r"answered 204 in 0\.\d{3} s: delivered", out)
    assert "hush" not in out


def test_the_configuration_says_where(server: Server, secret_file: Path, tmp_path: Path, capsys: Capture) -> None:
    """Its webhook is used even while it is switched off."""
    file = tmp_path / "sentinel.yaml"
    file.write_text(
        f"alerting:\n  webhook:\n    enabled: false\n    url: http://127.0.0.1:{server.port}/\n"
        f"    secret_file: {secret_file}\n    allowed_networks: [127.0.0.0/8]\n"
    )
    assert main(["webhook", "send-test", "--config", str(file)]) == 0
    assert len(server.requests) == 1
    assert "signed" in capsys.readouterr().out


@pytest.mark.parametrize("status", [302, 401, 410, 500])
def test_a_refusal_is_told_and_its_body_is_not(server: Server, capsys: Capture, status: int) -> None:
    """Exit code 1, the status, what to look at, and nothing of what the other side wrote."""
    server.status = status
    assert main(["webhook", "send-test", "--url", f"http://127.0.0.1:{server.port}/", "--allow-network", "127.0.0.0/8"]) == 1
    out = capsys.readouterr().out
    assert f"answered {status}" in out
    assert "hush" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--url", "http://127.0.0.1:9/"], 1, "allowed_networks"),
        (["--url", "ftp://127.0.0.1/"], 2, "--url"),
        (["--url", "https://a:b@example.com/"], 2, "credentials"),
        (["--url", "https://example.com/", "--allow-network", "10.0.0.1/8"], 2, "--allow-network"),
        (["--secret-file", "/dev/null"], 2, "secret-file"),
        (["--allow-network", "10.0.0.0/8"], 2, "belong to --url"),
        ([], 1, "no alerting.webhook.url"),
    ],
)
def test_mistakes_are_told_with_their_cure(arguments: list[str], code: int, words: str, capsys: Capture) -> None:
    """By exit code and in words."""
    assert main(["webhook", "send-test", *arguments]) == code
    assert words in capsys.readouterr().err


def verified(secret_file: Path, body: bytes, tmp_path: Path, capsys: Capture, **changes: str) -> tuple[int, str]:
    """The exit code and output for a message that is good but for the changes."""
    now = str(int(time.time()))
    given = {"id": "msg_1", "timestamp": now, "signature": sign.signature(KEY, "msg_1", now, b'{"a":1}')} | changes
    file = tmp_path / "body"
    file.write_bytes(body)
    options = [part for name, value in given.items() for part in (f"--{name}", value) if value]
    code = main(["webhook", "verify", "--secret-file", str(secret_file), *options, str(file)])
    return code, capsys.readouterr().out


GOOD = b'{"a":1}'


def test_a_genuine_message_is_valid(secret_file: Path, tmp_path: Path, capsys: Capture) -> None:
    """Every part is ok, exit code 0."""
    code, out = verified(secret_file, GOOD, tmp_path, capsys)
    assert (code, out) == (0, "id: ok\ntimestamp: ok\nsignature: ok\nvalid\n")


@pytest.mark.parametrize(
    ("body", "changes", "words"),
    [
        (b'{"a":2}', {}, "signature: does not match"),
        (GOOD + b"\n", {}, "without its last line end"),
        (GOOD, {"id": ""}, "id: is missing"),
        (GOOD, {"timestamp": ""}, "timestamp: is missing"),
        (GOOD, {"timestamp": "1700000000"}, "s old, and receivers refuse more than 300 s"),
        (GOOD, {"timestamp": "99999999999"}, "in the future"),
        (GOOD, {"timestamp": "yesterday"}, "not a number of seconds"),
        (GOOD, {"signature": "AAAA"}, "begins with v1,"),
        (GOOD, {"signature": "v1,\udcff"}, "does not match"),
        (GOOD, {"signature": "sha256=00"}, "signature: does not match"),
    ],
)
def test_the_wrong_part_is_named(
    secret_file: Path, tmp_path: Path, capsys: Capture, body: bytes, changes: dict[str, str], words: str
) -> None:
    """Exit code 1, and a line that says which part, and the likeliest reason."""
    code, out = verified(secret_file, body, tmp_path, capsys, **changes)
    assert code == 1
    assert words in out
    assert out.endswith("not valid\n")


def test_a_secret_taken_as_text_is_recognised(secret_file: Path, tmp_path: Path, capsys: Capture) -> None:
    """The commonest mistake of hand-written code."""
    now = str(int(time.time()))
    code, out = verified(secret_file, GOOD, tmp_path, capsys, timestamp=now, signature=sign.signature(SECRET.encode(), "msg_1", now, GOOD))
    assert code == 1
    assert "made with the secret as plain text" in out


def test_the_plain_signature_is_checked_too(secret_file: Path, tmp_path: Path, capsys: Capture) -> None:
    """X-Sentinel-Signature needs neither id nor time."""
    good = sign.body_signature(KEY, GOOD)
    assert verified(secret_file, GOOD, tmp_path, capsys, id="", timestamp="", signature=good) == (0, "signature: ok\nvalid\n")
    code, out = verified(secret_file, GOOD + b"\n", tmp_path, capsys, signature=good)
    assert code == 1
    assert "without its last line end" in out


def test_the_tolerance_is_an_option(secret_file: Path, tmp_path: Path, capsys: Capture) -> None:
    """0 looks at a message of any age."""
    old = {"timestamp": "1700000000", "signature": sign.signature(KEY, "msg_1", "1700000000", GOOD)}
    assert verified(secret_file, GOOD, tmp_path, capsys, **old)[0] == 1
    assert verified(secret_file, GOOD, tmp_path, capsys, **old, tolerance="0")[0] == 0


def test_the_body_comes_from_standard_input_by_default(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As bytes."""
    now = str(int(time.time()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD)))
    options = ["--id", "msg_1", "--timestamp", now, "--signature", sign.signature(KEY, "msg_1", now, GOOD)]
    assert main(["webhook", "verify", "--secret-file", str(secret_file), *options]) == 0


@pytest.mark.parametrize(
    ("secret", "body", "words"),
    [
        ("whsec_%%%", GOOD, "secret-file"),
        ("", GOOD, "secret-file"),
        (SECRET, None, "BODYFILE"),
        (SECRET, b"x" * 16_777_217, "no alert does"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, capsys: Capture, secret: str, body: bytes | None, words: str) -> None:
    """Exit code 2, and never the secret."""
    file = tmp_path / "secret"
    file.write_text(secret)
    if body is not None:
        (tmp_path / "body").write_bytes(body)
    assert main(["webhook", "verify", "--secret-file", str(file), "--signature", "v1,x", str(tmp_path / "body")]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "%%%" not in err
