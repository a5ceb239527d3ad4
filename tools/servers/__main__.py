"""Install and run real servers by hand: `python -m tools.servers install`, `python -m tools.servers run kafka`."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from tools.servers import kafka, postgres, rabbitmq, redis
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


_SERVERS = {
    "kafka": _Server(kafka.NAME, kafka.version, kafka.install, _run_kafka),
    "postgres": _Server(postgres.NAME, postgres.version, postgres.install, _run_postgres),
    "rabbitmq": _Server(rabbitmq.NAME, rabbitmq.version, rabbitmq.install, _run_rabbitmq),
    "redis": _Server(redis.NAME, redis.version, redis.install, _run_redis),
}


def _install() -> None:
    """Install every server that can be had. Raises ServerError with what is missing once all were tried."""
    missing = []
    for server in _SERVERS.values():
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
    verbs.add_parser("install", help="install every server that the tests use")
    verbs.add_parser("run", help="start one and run it until Ctrl-C").add_argument("server", choices=sorted(_SERVERS))
    arguments = parser.parse_args()
    try:
        if arguments.verb == "install":
            _install()
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
