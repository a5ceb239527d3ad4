"""Send example LLM events, normal and anomalous ones, with the LLM-Sentinel SDK.

python producer.py --brokers localhost:9092             # 20 normal events, then 5 anomalous ones
python producer.py --continuous --rate 20               # until Ctrl-C, one event in a hundred anomalous
python producer.py --url http://127.0.0.1:8080          # to a daemon over HTTP, without Kafka
"""

import argparse
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle, islice

from llm_sentinel import DeliveryError, TelemetryEvent, TelemetryProducer

PROMPT_USD, COMPLETION_USD = 2.5e-6, 1e-5
ANOMALOUS_EVERY = 100
"""In continuous mode. The daemon judges from the tenth event of a service and model on."""

dice = random.Random()  # noqa: S311  traffic, not secrets
stop = threading.Event()


@dataclass
class Request:
    """One request to a model, and in what it differs from the others.

    Attributes:
        prompt_tokens, completion_tokens: its size.
        slower, dearer: factors on the usual time and price.
        error: why it failed.
        user: who asked.
        kind: the anomaly it is, for people who look at the event.
    """

    prompt_tokens: int
    completion_tokens: int
    slower: float = 1.0
    dearer: float = 1.0
    error: str | None = None
    user: str = "user-1"
    kind: str = "normal"


def around(median: float, spread: float = 0.2) -> float:
    """A positive number near the median; long tails to the right, as times and sizes have them."""
    return median * dice.lognormvariate(0, spread)


def normal() -> Request:
    """A question and its answer."""
    return Request(round(around(600)), round(around(220)), user=f"user-{dice.randint(1, 50)}")


def high_cost() -> Request:
    """Of the usual size, at forty times the price: a wrong model, or a price that changed."""
    return Request(round(around(600)), round(around(220)), dearer=40, kind="high_cost")


def high_latency() -> Request:
    """Twelve times slower than usual."""
    return Request(round(around(600)), round(around(220)), slower=12, kind="high_latency")


def timed_out() -> Request:
    """No answer within half a minute."""
    return Request(round(around(600)), 0, slower=30_000 / 280, error="timeout", kind="timed_out")


def suspicious_pattern() -> Request:
    """One user, an enormous prompt, hardly an answer: somebody probes or scrapes."""
    return Request(round(around(40_000)), round(around(3)), user="user-666", kind="suspicious_pattern")


def high_tokens() -> Request:
    """An answer that would not end."""
    return Request(round(around(600)), round(around(12_000)), kind="high_tokens")


# What moves few metrics comes first: each anomaly is learned, and makes the next of its kind less unusual.
ANOMALIES: tuple[Callable[[], Request], ...] = (high_cost, high_latency, timed_out, suspicious_pattern, high_tokens)


def send(producer: TelemetryProducer, request: Request) -> bool:
    """What an application does after each call of a model."""
    ttft_ms = (250 + 0.05 * min(request.prompt_tokens, 1_000)) * around(1, 0.1) * request.slower
    event: TelemetryEvent = producer.create_telemetry_event(
        service_name="example-chat",
        model_name="gpt-4o",
        provider="openai",
        operation="chat",
        latency_ms=round(ttft_ms + 12 * request.completion_tokens * around(1, 0.1) * request.slower, 1),
        ttft_ms=round(ttft_ms, 1) if request.error is None else None,
        streaming=True,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.completion_tokens,
        cost_usd=round((request.prompt_tokens * PROMPT_USD + request.completion_tokens * COMPLETION_USD) * request.dearer, 6),
        error=request.error,
        finish_reason="stop" if request.error is None else None,
        user_id=request.user,
        session_id=f"{request.user}-today",
        metadata={"example": request.kind},
    )
    return producer.send_event(event)


def some(normal_events: int, anomalous_events: int) -> Iterator[Request]:
    """Normal requests to learn from, then anomalous ones, of every kind in turn."""
    yield from (normal() for _ in range(normal_events))
    yield from (anomaly() for anomaly in islice(cycle(ANOMALIES), anomalous_events))


def endless(rate: float) -> Iterator[Request]:
    """So many requests a second; one in a hundred is anomalous."""
    kinds, due = cycle(ANOMALIES), time.monotonic()
    for number in count(1):
        yield next(kinds)() if number % ANOMALOUS_EVERY == 0 else normal()
        due += 1 / rate
        stop.wait(max(0.0, due - time.monotonic()))


def run(producer: TelemetryProducer, requests: Iterator[Request], *, live: bool) -> Counter[str]:
    """Send them all, with a counter where it may take long; how many of each kind were sent."""
    kinds: Counter[str] = Counter()
    shown_at = time.monotonic()
    every_s, end = (1.0, "\r") if sys.stderr.isatty() else (10.0, "\n")
    for request in requests:
        if stop.is_set():
            break
        send(producer, request)
        kinds[request.kind] += 1
        if live and time.monotonic() - shown_at >= every_s:
            shown_at = time.monotonic()
            stats = producer.stats()
            print(f"{kinds.total()} sent, {stats.delivered} delivered, {stats.buffered} waiting", end=end, file=sys.stderr, flush=True)
    if live:
        print(file=sys.stderr)
    return kinds


def complain(error: DeliveryError) -> None:
    """Told about once a second while something is wrong."""
    print(f"delivery: {error}", file=sys.stderr)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Send example LLM events, normal and anomalous ones.")
    parser.add_argument("--brokers", default="localhost:9092", help="Kafka brokers as host:port, separated by commas (%(default)s)")
    parser.add_argument("--topic", default="llm.telemetry", help="Kafka topic (%(default)s)")
    parser.add_argument("--url", help="a daemon's address, to send over HTTP instead of Kafka")
    parser.add_argument("--api-key", help="key that may write events, over HTTP")
    parser.add_argument("--normal-events", type=int, default=20, metavar="N", help="normal events (%(default)s)")
    parser.add_argument("--anomalous-events", type=int, default=5, metavar="N", help="anomalous events after them (%(default)s)")
    parser.add_argument("--continuous", action="store_true", help="send until Ctrl-C instead, one event in a hundred anomalous")
    parser.add_argument("--rate", type=float, default=10.0, help="events a second with --continuous (%(default)s)")
    parser.add_argument("--seed", type=int, help="send the same events as another run with this seed")
    wanted = parser.parse_args()
    if wanted.rate <= 0:
        parser.error("--rate must be more than 0")
    return wanted


def main() -> int:
    """Send, and say what became of it. Returns the exit code: 1 when an event was lost, or nothing could be sent."""
    wanted = options()
    dice.seed(wanted.seed)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        if wanted.url:
            producer = TelemetryProducer(url=wanted.url, api_key=wanted.api_key, on_error=complain)
        else:
            producer = TelemetryProducer(brokers=wanted.brokers, topic=wanted.topic, on_error=complain)
    except (ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    with producer:
        requests = endless(wanted.rate) if wanted.continuous else some(wanted.normal_events, wanted.anomalous_events)
        kinds = run(producer, requests, live=wanted.continuous)
    stats = producer.stats()
    print(f"{stats.delivered} of {kinds.total()} events delivered: {', '.join(f'{n} {kind}' for kind, n in kinds.items()) or 'none'}")
    return 0 if stats.delivered == kinds.total() else 1


if __name__ == "__main__":
    sys.exit(main())
