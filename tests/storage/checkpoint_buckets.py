"""What the tests of checkpoints in buckets share: a section of the configuration, and a server that answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sentinel.config.secret import Secret
from sentinel.config.sections_state import SharedCheckpoints
from tools.servers.s3 import S3

SECRET = "the-secret-access-key"
KEY_ID = "the-access-key-id"


def section(endpoint: str, url: str = "s3://checkpoints/of/tests", **more: Any) -> SharedCheckpoints:
    """A section with credentials."""
    given = {"url": url, "endpoint": endpoint, "access_key_id": KEY_ID, "secret_access_key": Secret(SECRET)}
    return SharedCheckpoints(**given | more)


def bucket(server: S3, **more: Any) -> SharedCheckpoints:
    """A section for a bucket of its own."""
    return section(server.endpoint, f"s3://{server.create_bucket()}/of/tests", **more)


class Answers:
    """What `answering` answers: a status, or nothing at all when it is 0; a body that quotes the request, as servers do."""

    status = 503
    asked = 0
    authorization = ""


@contextmanager
def answering() -> Iterator[tuple[str, Answers]]:
    """A server that takes no request, and its address."""
    answers, over = Answers(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            answers.asked += 1
            answers.authorization = self.headers.get("authorization", "")
            self.rfile.read(int(self.headers.get("content-length", 0)))
            if answers.status == 0:
                over.wait()
                return
            body = f"<Error><Code>Refused</Code><Message>{self.headers.get('authorization')} {SECRET}</Message></Error>".encode()
            self.send_response(answers.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815  the library's names

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", answers
    finally:
        over.set()
        server.shutdown()
        serving.join()
        server.server_close()
