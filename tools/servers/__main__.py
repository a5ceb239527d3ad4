"""Install and run real servers by hand: `python -m tools.servers install`, `python -m tools.servers run kafka`."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from tools.servers import kafka, postgres, rabbitmq, redis, s3, toxiproxy
from tools.servers.process import ServerError


class _Server(NamedTuple):
    """What can be done with one kind of server; `run` gives its address while it runs."""

    name: str
    version: Callable[[], str]
    install: Callable[[], None]
    run: Callable[[], AbstractContextManager[str]]


@contextmanager
def _run_kafka() -> Iterator[str]:
    with kafka.kafka() as broker:
        yield broker.bootstrap


@contextmanager
def _run_postgres() -> Iterator[str]:
    with postgres.postgres() as server:
        yield server.url()


@contextmanager
def _run_rabbitmq() -> Iterator[str]:
    with rabbitmq.rabbitmq() as node:
        yield node.url


@contextmanager
def _run_redis() -> Iterator[str]:
    with redis.redis() as server:
        yield server.url


@contextmanager
def _run_s3() -> Iterator[str]:
    with s3.s3() as server:
        yield f"{server.endpoint}, bucket {server.create_bucket('sentinel')}"


@contextmanager
def _run_toxiproxy() -> Iterator[str]:
    with toxiproxy.toxiproxy() as server:
        yield server.url


_SERVERS = {
    "kafka": _Server(kafka.NAME, kafka.version, kafka.install, _run_kafka),
    "postgres": _Server(postgres.NAME, postgres.version, postgres.install, _run_postgres),
    "rabbitmq": _Server(rabbitmq.NAME, rabbitmq.version, rabbitmq.install, _run_rabbitmq),
    "redis": _Server(redis.NAME, redis.version, redis.install, _run_redis),
    "s3": _Server(s3.NAME, s3.version, s3.install, _run_s3),
    "toxiproxy": _Server(toxiproxy.NAME, toxiproxy.version, toxiproxy.install, _run_toxiproxy),
}
_FOR_TESTS = tuple(name for name in _SERVERS if name != "toxiproxy")
"""What `make test` uses; `make chaos` installs the other one by name."""


def _install(names: Sequence[str]) -> None:
    """Install every one of these servers that can be had. Raises ServerError with what is missing once all were tried."""
    missing = []
    for server in (_SERVERS[name] for name in names):
        try:
            server.install()
            print(f"{server.name} {server.version()} is installed", flush=True)
        except ServerError as reason:
            missing.append(f"{server.name}: {reason}")
    if missing:
        raise ServerError("\n".join(missing))


def _run(server: _Server) -> None:
    with server.run() as address:
        print(f"{server.name} {server.version()} listens on {address}; end it with Ctrl-C", flush=True)
        _wait_for_signal()


def _wait_for_signal() -> None:
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    asked.wait()


def main() -> int:
    """Do what the arguments say; 0, 1 with the reason on standard error, or 130 when interrupted on the way."""
    parser = argparse.ArgumentParser(prog="python -m tools.servers", description="Real servers for tests and trials.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    install = verbs.add_parser("install", help="install every server that the tests use, or those that are named")
    install.add_argument("servers", nargs="*", default=_FOR_TESTS, metavar="SERVER", help=f"of {', '.join(sorted(_SERVERS))}")
    verbs.add_parser("run", help="start one and run it until Ctrl-C").add_argument("server", choices=sorted(_SERVERS))
    arguments = parser.parse_args()
    try:
        if arguments.verb == "install":
            if unknown := sorted(set(arguments.servers) - _SERVERS.keys()):
                parser.error(f"there is no server called {', '.join(unknown)}: choose from {', '.join(sorted(_SERVERS))}")
            _install(arguments.servers)
        else:
            _run(_SERVERS[arguments.server])
    except ServerError as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
