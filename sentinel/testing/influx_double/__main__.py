"""The double as a process of its own: `python -m sentinel.testing.influx_double --port 8181`.

It tells its address on standard output, then serves until it is interrupted. `GET /stats` says what it holds (with `db`, `table` and
`sum` the sum of a column too), `POST /faults` replaces its faults.
"""

import argparse
import os
import signal
import sys

from sentinel.testing.influx_double.server import MAX_POINTS, InfluxDouble


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m sentinel.testing.influx_double", description="A stand-in for an InfluxDB 3 server.")
    parser.add_argument("--port", type=int, default=0, help="0 = a free one")
    parser.add_argument("--max-points", type=int, default=MAX_POINTS, help="points it holds at most")
    parser.add_argument("--token-env", metavar="NAME", help="environment variable with the token callers must show")
    options = parser.parse_args()
    # Before any thread starts, so that none of them takes the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    token = os.environ[options.token_env] if options.token_env else None
    with InfluxDouble(port=options.port, token=token, max_points=options.max_points) as double:
        sys.stdout.write(f"{double.url}\n")
        sys.stdout.flush()
        signal.sigwait([signal.SIGINT, signal.SIGTERM])


if __name__ == "__main__":
    main()
