"""What the tests of going over the past share: files of events with a fault in them, and short runs."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from sentinel.app.backtest.inputs import FileInput, Input, Part, Span
from sentinel.app.backtest.reading import Past
from sentinel.core.timestamp import rfc3339
from sentinel.testing.faults import Fault, FaultKind
from sentinel.testing.profiles import make_fleet, model_profiles, service_profiles
from sentinel.testing.simulator import Simulator

START_NS = 1_768_435_200_000_000_000
"""2026-01-15T00:00:00Z."""
MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS
NOW_NS = START_NS + 1_000 * HOUR_NS
KEY = b"a key for tests, nothing of it is kept"


def record(i: int, at_ns: int | None = None, **fields: object) -> bytes:
    """Event number i, one a second unless told otherwise."""
    plain = {"service_name": "chat", "model_name": "m", "latency_ms": 100 + i % 7, "event_id": f"e{i}"}
    return json.dumps(plain | {"timestamp": rfc3339(START_NS + i * 1_000_000_000 if at_ns is None else at_ns)} | fields).encode()


def simulated(hours: float, rate: float, *faults: Fault, seed: int = 5) -> list[bytes]:
    """Records of one service and two models."""
    fleet = make_fleet(service_profiles(["chat"]), model_profiles(["gpt", "claude"]))
    simulator = Simulator(seed, fleet=fleet, rate=rate, faults=faults)
    return simulator.block(START_NS, START_NS + int(hours * HOUR_NS))


def spike(after_h: float, minutes: float, strength: float = 8.0, kind: FaultKind = FaultKind.LATENCY_SPIKE) -> Fault:
    """A fault of one of the models of `simulated`."""
    start_ns = START_NS + int(after_h * HOUR_NS)
    return Fault(kind, start_ns, start_ns + int(minutes * MINUTE_NS), strength, "chat", "gpt")


def write(path: Path, records: Sequence[bytes]) -> Path:
    """A file of these lines."""
    path.write_bytes(b"".join(line + b"\n" for line in records))
    return path


def past_of(source: Input, span: Span | None = None) -> Past:
    """A past to go over."""
    return Past(source, span or Span(), None, KEY)


def file_past(path: Path, span: Span | None = None) -> Past:
    """A file to go over."""
    return past_of(FileInput([path], 1_048_576, NOW_NS), span)


class ListInput:
    """An input of given parts."""

    name = "a list"
    rereadable = True
    lacks = None

    def __init__(self, *parts: Part) -> None:
        self._parts = parts

    def parts(self) -> Iterator[Part]:
        """The parts."""
        yield from self._parts


def ignore(_share: float) -> None:
    """No progress is shown."""
