"""A daemon's HTTP port as far as producers see it: it answers as told, and notes what came."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What is answered to one request; without a body, that everything was accepted."""

    status: int = 202
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Double:
    """Notes every request; answers from `script` first, then takes everything.

    Attributes:
        script: the next answers. An exception's type in it breaks the connection without an answer.
        requests: the events of each request; paths, keys: where they went, and with which API key.
        gate: requests wait until it is set.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.script: list[Answer | type[BaseException]] = []
        self.requests: list[list[dict[str, Any]]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self.came = threading.Condition()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                double._handle(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
                """Be silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.scheme = "https" if tls is not None else "http"

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events of requests that were answered with 202."""
        return [event for request in self.requests for event in request]

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests have come."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.paths) >= requests, 20), f"{len(self.paths)} requests came, not {requests}"

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        with self.came:
            self.paths.append(request.path)
            self.keys.append(request.headers["X-API-Key"])
            self.came.notify_all()
        self.gate.wait(20)
        answer = self.script.pop(0) if self.script else Answer()
        if isinstance(answer, type):
            request.close_connection = True
            return
        events = [json.loads(line) for line in body.splitlines()]
        if answer.status == 202:
            self.requests.append(events)
        text = json.dumps(answer.body or {"accepted": len(events), "rejected": 0, "duplicates": 0, "filtered": 0, "errors": []}).encode()
        request.send_response(answer.status)
        for name, value in {"Content-Length": str(len(text)), **answer.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(text)


@contextmanager
def daemon_double(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Double]:
    """A double that serves until the block ends."""
    double = Double(port, tls)
    serving = threading.Thread(target=double._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    serving.start()
    try:
        yield double
    finally:
        double.gate.set()
        double._server.shutdown()
        double._server.server_close()
        serving.join()
