"""Pacing and sending: nothing before it is due, nothing twice, nothing lost, and a stop is obeyed."""

import asyncio
import io
from itertools import chain, count

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sentinel.core.errors import PermanentError, RetryableError
from sentinel.testing.fakes import ManualClock
from sentinel.testing.faults import NS, Fault, FaultKind
from sentinel.testing.playback import LONGEST_SLICE_EVENTS, Sent, paced, play, unpaced
from sentinel.testing.simulator import Block, Simulator
from sentinel.testing.targets import REQUEST_BYTES, REQUEST_RECORDS, HttpTarget, StreamTarget

START = 1_768_473_000 * NS


class Ingest:
    """A small server for `/api/v1/events` that answers as told and keeps what it got."""

    def __init__(self, *answers: tuple[int, dict[str, str], object]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[web.Request, list[bytes]]] = []

    async def events(self, request: web.Request) -> web.Response:
        """Keep the request and answer."""
        records = (await request.read()).split(b"\n")
        self.requests.append((request, records))
        status, headers, body = self.answers.pop(0) if self.answers else (202, {}, {"accepted": len(records), "rejected": 0})
        return web.json_response(body, status=status, headers=headers)

    def server(self) -> TestServer:
        """A server on a free port of loopback, not started yet."""
        application = web.Application(client_max_size=10_000_000)
        application.router.add_post("/api/v1/events", self.events)
        return TestServer(application)

    @property
    def records(self) -> list[bytes]:
        """All records that came, in order."""
        return [record for _, records in self.requests for record in records]


async def send(ingest: Ingest, block: Block, stop: asyncio.Event | None = None, api_key: str | None = None) -> HttpTarget:
    """Send one block to a running server; the target afterwards."""
    async with ingest.server() as server:
        target = HttpTarget(str(server.make_url("/")), stop or asyncio.Event(), api_key)
        await target.open()
        try:
            await target.send(block)
        finally:
            await target.close()
    return target


def block_of(n: int, text_share: float = 0.0) -> Block:
    """One block of n events; fewer than a cell."""
    return next(Simulator(1, text_share=text_share).keyed_events(n, START, 1_000))


# -------------------------------------------------------------------------------------------------------------- pace


async def test_paced_traffic_is_never_early_and_complete() -> None:
    """Each event comes no earlier than the clock reaches its time, and together they are the simulator's block."""
    clock, simulator = ManualClock(), Simulator(1, rate=300)
    began = clock.monotonic()
    came: list[bytes] = []
    async for block in paced(simulator, START, 2 * NS, lambda: clock.monotonic() - began, clock.sleep):
        assert all(block.ts_ns - START <= (clock.monotonic() - began) * NS + 1_000)
        came += block.records
    assert came == simulator.block(START, START + 2 * NS)
    assert clock.monotonic() - began == pytest.approx(2.0)


async def test_who_falls_behind_catches_up_in_larger_slices() -> None:
    """After a long stall everything still comes, in slices of at most a second."""
    clock, simulator = ManualClock(), Simulator(1, rate=300)
    clock.advance(10.5)
    began = clock.monotonic() - 10.5
    blocks = [block async for block in paced(simulator, START, 11 * NS, lambda: clock.monotonic() - began, clock.sleep)]
    assert list(chain.from_iterable(block.records for block in blocks)) == simulator.block(START, START + 11 * NS)
    assert len(blocks) < 30
    assert max(int(block.ts_ns[-1] - block.ts_ns[0]) for block in blocks if block.records) < NS


async def test_a_fast_stream_comes_in_small_slices() -> None:
    """At a million events a second no slice holds much more than the stated number of events, however far behind it is."""
    clock, simulator = ManualClock(), Simulator(1, rate=1e6)
    clock.advance(0.15)
    began = clock.monotonic() - 0.15
    blocks = paced(simulator, START, NS // 5, lambda: clock.monotonic() - began, clock.sleep)
    sizes = [len(block.records) async for block in blocks]
    assert max(sizes) < 1.3 * LONGEST_SLICE_EVENTS
    assert sum(sizes) == len(simulator.block(START, START + NS // 5))


async def test_a_pause_cut_short_loses_nothing() -> None:
    """A pause that ends early yields a shorter slice, and the next goes on from there."""
    clock, simulator = ManualClock(), Simulator(1, rate=2_000)
    began = clock.monotonic()

    async def impatient(seconds: float) -> None:
        await clock.sleep(min(seconds, 0.03))

    slices = [block.records async for block in paced(simulator, START, NS, lambda: clock.monotonic() - began, impatient)]
    assert list(chain.from_iterable(slices)) == simulator.block(START, START + NS)
    assert len(slices) > 30


async def test_play_sends_exactly_the_number_wanted() -> None:
    """The last block is cut, and what was sent is told."""
    stream = io.BytesIO()
    told: list[int] = []
    blocks = unpaced(Simulator(1), None, START, 1_000, lambda: False)
    sent = await play(blocks, StreamTarget(stream), 10_001, lambda: False, told.append)
    assert sent == Sent(10_001, START + 10_000 * 1_000)
    assert sum(told) == 10_001
    assert stream.getvalue().count(b"\n") == 10_001


async def test_play_stops_before_the_next_block_when_told() -> None:
    """A stop between two blocks leaves whole blocks sent and nothing of the next."""
    stream, asked = io.BytesIO(), count()
    blocks = unpaced(Simulator(1), None, START, 1_000, lambda: False)
    sent = await play(blocks, StreamTarget(stream), None, lambda: next(asked) == 3, lambda _: None)
    assert sent.events == stream.getvalue().count(b"\n") == 3 * 8_192


def test_only_faults_that_began_are_told() -> None:
    """A fault counts as injected once an event at or after its start was sent."""
    first, second = (Fault(FaultKind.ERROR_BURST, start, start + 5, 0.5) for start in (10, 20))
    assert Sent().began((first, second)) == []
    assert Sent(1, 15).began((first, second)) == [first]
    assert Sent(2, 20).began((first, second)) == [first, second]


# -------------------------------------------------------------------------------------------------------------- HTTP


async def test_http_requests_are_bounded_and_in_order() -> None:
    """Everything arrives once, in order, as NDJSON with the key, in requests of bounded number and size."""
    ingest, block = Ingest(), block_of(2_500, text_share=0.5)
    target = await send(ingest, block, api_key="k-123")
    assert ingest.records == block.records
    assert (target.accepted, target.rejected) == (2_500, 0)
    for request, records in ingest.requests:
        assert request.headers["Content-Type"] == "application/x-ndjson"
        assert request.headers["X-API-Key"] == "k-123"
        assert len(records) <= REQUEST_RECORDS
        assert sum(map(len, records)) <= REQUEST_BYTES


async def test_a_record_larger_than_a_request_goes_alone() -> None:
    """A record beyond the size of a request is still sent, by itself."""
    ingest = Ingest()
    huge = Block([b"a", b"x" * (REQUEST_BYTES + 1), b"b"], [b"k"] * 3, block_of(3).ts_ns)
    await send(ingest, huge)
    assert [records for _, records in ingest.requests] == [[b"a"], [huge.records[1]], [b"b"]]


async def test_a_busy_server_gets_the_same_records_again() -> None:
    """429 and 503 with Retry-After lead to the same request once more, and nothing is counted twice."""
    ingest = Ingest((429, {"Retry-After": "0.01"}, {}), (503, {"Retry-After": "0"}, {}))
    block = block_of(10)
    target = await send(ingest, block)
    assert ingest.records == block.records * 3
    assert target.accepted == 10


async def test_a_stop_ends_the_wait_for_a_busy_server() -> None:
    """Told to stop while the server asks to wait a minute, the target gives up at once."""
    stop = asyncio.Event()
    stop.set()
    ingest = Ingest((429, {"Retry-After": "60"}, {}))
    target = await send(ingest, block_of(10), stop)
    assert (target.accepted, len(ingest.requests)) == (0, 1)


async def test_rejects_are_counted_from_the_answer() -> None:
    """The numbers are the server's, also when it rejects a whole request."""
    ingest = Ingest((202, {}, {"accepted": 7, "rejected": 3}), (400, {}, {"title": "Bad Request", "rejected": 10}))
    async with ingest.server() as server:
        target = HttpTarget(f"{server.make_url('/')}api/v1/events", asyncio.Event())
        await target.open()
        await target.send(block_of(10))
        await target.send(block_of(10))
        await target.close()
    assert (target.accepted, target.rejected) == (7, 13)


@pytest.mark.parametrize(("status", "cure"), [(401, "--api-key"), (403, "--api-key"), (404, "--to"), (302, "--to"), (500, "--to")])
async def test_a_refusal_names_status_place_and_cure(status: int, cure: str) -> None:
    """Any other answer ends the run with one line that says what came from where and what to do."""
    ingest = Ingest((status, {"Location": "/elsewhere"}, "no"))
    with pytest.raises(PermanentError, match=rf"/api/v1/events answered {status}.*{cure}"):
        await send(ingest, block_of(1))


async def test_a_server_that_is_not_there_is_named_without_secrets() -> None:
    """A refused connection names the address, never the credentials in it."""
    async with Ingest().server() as server:
        port = server.port
    target = HttpTarget(f"http://somebody:secret-word@127.0.0.1:{port}", asyncio.Event())
    await target.open()
    with pytest.raises(RetryableError, match=rf"127\.0\.0\.1:{port}.*Connection refused.*sentinel run") as caught:
        await target.send(block_of(1))
    await target.close()
    assert "secret-word" not in str(caught.value)
