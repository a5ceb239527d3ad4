"""Install and run real servers by hand: `python -m tools.servers install`, `python -m tools.servers run kafka`."""

import argparse
import signal
import sys
import threading

from tools.servers import kafka
from tools.servers.process import ServerError


def _install() -> None:
    kafka.install()
    print(f"Apache Kafka {kafka.version()} is installed")


def _run_kafka() -> None:
    with kafka.kafka() as broker:
        print(f"Apache Kafka {kafka.version()} listens on {broker.bootstrap}; end it with Ctrl-C", flush=True)
        _wait_for_signal()


def _wait_for_signal() -> None:
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    asked.wait()


_RUN = {"kafka": _run_kafka}


def main() -> int:
    """Do what the arguments say; 0, 1 with the reason on standard error, or 130 when interrupted on the way."""
    parser = argparse.ArgumentParser(prog="python -m tools.servers", description="Real servers for tests and trials.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("install", help="install every server that the tests use")
    verbs.add_parser("run", help="start one and run it until Ctrl-C").add_argument("server", choices=sorted(_RUN))
    arguments = parser.parse_args()
    try:
        if arguments.verb == "install":
            _install()
        else:
            _RUN[arguments.server]()
    except ServerError as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
