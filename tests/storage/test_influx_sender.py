"""Finding the bad lines of a refused request: exactly those, in few requests, and none when the server refuses everything."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sentinel.core.errors import RetryableError
from sentinel.observability.metrics import Metrics
from sentinel.storage.influx_client import RejectedError
from sentinel.storage.influx_requests import MAX_REQUEST_BYTES, cut
from sentinel.storage.influx_sender import TOO_MANY, Sending
from sentinel.storage.lines import Lines


class Server:
    """Takes requests of which no line is bad; remembers what it took."""

    def __init__(self, bad: Callable[[str], bool]) -> None:
        self.bad = bad
        self.requests = 0
        self.stored: list[str] = []

    def write(self, _bucket: str, payload: bytes) -> None:
        """Store all or nothing."""
        self.requests += 1
        lines = payload.decode().split("\n")
        if any(self.bad(line) for line in lines):
            raise RejectedError("bad")
        self.stored += lines

    def ask(self, bucket: str, statement: str, parameters: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
        """Not asked here."""
        raise NotImplementedError


def sending(server: Server) -> Sending:
    """One request on its way to the server."""
    return Sending(server, "telemetry", 0, Metrics())


@pytest.mark.parametrize("size", [1, 2, 3, 100, 4_999, 5_000])
def test_one_bad_line_costs_few_requests(size: int) -> None:
    """Wherever it stands, the bad line alone is given up, for at most two further requests a halving, and one to be sure."""
    for at in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        lines = [f"m x={i}" for i in range(size)]
        server = Server(lines[at].__eq__)
        assert sending(server).send(Lines.of(lines)) == [(at, "bad")]
        assert sorted(line for line in server.stored if line.startswith("m ")) == sorted(lines[:at] + lines[at + 1 :])
        extra = server.requests - 1
        assert extra <= max(1, 2 * math.ceil(math.log2(size)))


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_exactly_the_bad_lines_are_given_up(case: tuple[int, set[int]]) -> None:
    """Any set of bad lines: these are named, all others are stored once. Where many are all bad, something else is at fault."""
    size, bad = case
    assume(len(bad) < max(size, TOO_MANY))
    lines = [f"m x={i}" for i in range(size)]
    server = Server(lambda line: line in {lines[i] for i in bad})
    assert [i for i, _ in sending(server).send(Lines.of(lines))] == sorted(bad)
    assert sorted(line for line in server.stored if line.startswith("m ")) == sorted(lines[i] for i in range(size) if i not in bad)
    assert server.requests <= 1 + len(bad) * 2 * math.ceil(math.log2(size) + 1) + 1


def test_a_server_that_refuses_everything_costs_no_event() -> None:
    """When even a plain point of ours is refused, it is not the event: nothing is given up, and the error says where to look."""
    server = Server(lambda _line: True)
    with pytest.raises(RetryableError, match=r"refuses even a plain point in telemetry.*storage\.influxdb\.api"):
        sending(server).send(Lines.of(f"m x={i}" for i in range(5_000)))
    assert server.requests < 30


@given(st.lists(st.integers(1, MAX_REQUEST_BYTES), max_size=40), st.integers(1, 10))
def test_requests_are_cut_by_lines_and_bytes(sizes: list[int], most: int) -> None:
    """No request has more lines than configured, none is larger than the limit unless it is one line, and no line is lost."""
    cuts = cut(np.array(sizes, np.int64) + 1, most)
    assert [i for part in cuts for i in part] == list(range(len(sizes)))
    for part in cuts:
        assert 1 <= len(part) <= most
        assert len(part) == 1 or sum(sizes[i] + 1 for i in part) - 1 <= MAX_REQUEST_BYTES
