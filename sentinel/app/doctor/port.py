"""The API's port: free, or used by our own daemon."""

import errno
import socket
from collections.abc import Sequence
from typing import Final

import aiohttp

from sentinel.app.doctor.check import Check, Finding, failed, in_thread, ok
from sentinel.config.addresses import parse_address
from sentinel.config.schema import Config
from sentinel.core.errors import StartupError

SUBJECT: Final = "port"
ASK_LIMIT_S: Final = 3.0
_UNSPECIFIED: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  compared, not bound


async def _run(config: Config) -> Sequence[Finding]:
    address = config.api.bind_addr
    try:
        parsed = parse_address(address)
    except ValueError:
        raise StartupError(f"api.bind_addr {address} is not host:port. Write it like 127.0.0.1:8080.") from None
    refusal = await in_thread(lambda: _bind(parsed.host, parsed.port))
    if refusal is None:
        return [ok(SUBJECT, f"{address} is free")]
    if refusal == errno.EADDRINUSE:
        scheme = "https" if config.api.tls_cert_file else "http"
        return [await _user(address, f"{scheme}://{_host(parsed.host)}:{parsed.port}/health/live")]
    cure = "Choose a port from 1024 on." if refusal == errno.EACCES else "Set api.bind_addr to an address of this machine."
    return [failed(SUBJECT, f"cannot listen on {address}: {errno.errorcode.get(refusal, refusal)}", cure)]


def _bind(host: str, port: int) -> int | None:
    """Why we could not listen there, as errno; None when we could."""
    family, kind, _, _, where = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
            probe.listen(1)
        except OSError as error:
            return error.errno or errno.EINVAL
    return None


def _host(host: str) -> str:
    """Where to ask, as a URL has it."""
    host = _UNSPECIFIED.get(host, host)
    return f"[{host}]" if ":" in host else host


async def _user(address: str, url: str) -> Finding:
    """Who listens there. Whose certificate it is does not matter: nothing is sent."""
    try:
        timeout = aiohttp.ClientTimeout(total=ASK_LIMIT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, allow_redirects=False, ssl=False) as answer,
        ):
            ours = answer.headers.get("Server") == "llm-sentinel"
            healthy = answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        ours = healthy = False
    if not ours:
        return failed(SUBJECT, f"{address} is used by another program", "Stop that program, or set api.bind_addr to another port.")
    if not healthy:
        return failed(SUBJECT, f"{address} is used by a daemon that does not move on", "Restart it, and see its log.")
    return ok(SUBJECT, f"{address} is used by the running daemon")


PORT: Final = Check("port", _run)
