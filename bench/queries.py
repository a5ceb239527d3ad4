"""What the API answers under load: each question asked over and over on a few connections, the next one as soon as the answer is read.

    python -m bench.queries URL --services 84 --models 10 --seconds 4 --connections 4

Questions about one service take the services in turns, so that no answer is the one before.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final

import aiohttp
import numpy as np
import orjson
import uvloop

from bench.processes import BenchError, tell

Question = Callable[[int], tuple[str, str, dict[str, Any] | None]]
"""Method, path and body of the question number i."""

TIMEOUT_S: Final = 30


def questions(services: int) -> dict[str, Question]:
    """What is asked, by what it is called."""
    return {
        "GET /telemetry, newest 100": lambda _: ("GET", "/api/v1/telemetry", None),
        "GET /telemetry, 100 of a service": lambda i: ("GET", f"/api/v1/telemetry?service=service-{i % services}", None),
        "GET /anomalies/recent, 10": lambda _: ("GET", "/api/v1/anomalies/recent", None),
        "GET /baselines of a service": lambda i: ("GET", f"/api/v1/baselines?service=service-{i % services}", None),
        "POST /metrics/timeseries, 1 h": lambda _: ("POST", "/api/v1/metrics/timeseries", {"minutes": 60}),
        "POST /metrics/timeseries of a service": lambda i: (
            "POST",
            "/api/v1/metrics/timeseries",
            {"minutes": 60, "service": f"service-{i % services}"},
        ),
    }


async def ask(session: aiohttp.ClientSession, question: Question, seconds: float, connections: int) -> dict[str, float]:
    """Ask one question for a while. Raises BenchError for an answer that is not 200."""
    numbers, taken = count(), list[float]()
    ends = time.perf_counter() + seconds

    async def ask_on() -> None:
        while (began := time.perf_counter()) < ends:
            method, path, body = question(next(numbers))
            async with session.request(method, path, data=orjson.dumps(body) if body else None) as answer:
                text = await answer.read()
            if answer.status != 200:
                raise BenchError(f"{method} {path} was answered with {answer.status}: {text[:200]!r}")
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(ask_on())
    took_s = time.perf_counter() - began
    ms = np.array(taken) * 1e3
    return {"per_s": len(ms) / took_s, "p50_ms": float(np.median(ms)), "p99_ms": float(np.quantile(ms, 0.99)), "answers": len(ms)}


async def ask_all(url: str, services: int, seconds: float, connections: int) -> dict[str, Any]:
    """Ask one question after the other."""
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        return {name: await ask(session, question, seconds, connections) for name, question in questions(services).items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--services", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tell(runner.run(ask_all(options.url, options.services, options.seconds, options.connections)))


if __name__ == "__main__":
    main()
