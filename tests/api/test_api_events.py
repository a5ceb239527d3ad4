"""Ingest over HTTP: what is taken, what is refused and why, and that 202 means durable."""

import asyncio
import gzip
import json
import sqlite3
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from api_client import Client, Started, Stuck, event, until

from sentinel.config.schema import Api, HttpIngest

MIB = 1_048_576


def rows(client: Client) -> list[str]:
    """Event ids in the database file, read as another program would."""
    path = client.daemon.store.path
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        found = [event_id for (event_id,) in connection.execute("SELECT event_id FROM events ORDER BY off, sub")]
    connection.close()
    return found


@pytest.fixture
def traced() -> Iterator[None]:
    """Memory is counted from here on."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def bomb(mebibytes: int) -> bytes:
    """That many mebibytes of spaces, compressed a thousand to one."""
    pack = zlib.compressobj(9, wbits=31)
    return b"".join(pack.compress(b" " * MIB) for _ in range(mebibytes)) + pack.flush()


@pytest.mark.parametrize(
    ("body", "headers", "ids"),
    [
        (json.dumps(event(1)).encode(), {}, ["e1"]),
        (json.dumps(event(1), indent=4).encode(), {}, ["e1"]),
        (b"\xef\xbb\xbf" + json.dumps([event(1)]).encode(), {}, ["e1"]),
        (json.dumps([event(1), event(2)], indent=2).encode(), {}, ["e1", "e2"]),
        (b"\n".join(json.dumps(event(i)).encode() for i in (1, 2, 3)), {"Content-Type": "application/x-ndjson"}, ["e1", "e2", "e3"]),
        (b"\r\n\r\n".join(json.dumps(event(i)).encode() for i in (1, 2)), {"Content-Type": "application/json"}, ["e1", "e2"]),
        (b"".join(b"\x1e%s\n" % json.dumps(event(i)).encode() for i in (1, 2)), {"Content-Type": "application/json-seq"}, ["e1", "e2"]),
        (gzip.compress(json.dumps([event(1), event(2)]).encode()), {"Content-Encoding": "gzip"}, ["e1", "e2"]),
        (zlib.compress(json.dumps(event(1)).encode()), {"Content-Encoding": "deflate"}, ["e1"]),
    ],
    ids=["one", "pretty", "byte-order-mark", "array", "ndjson", "lines-as-json", "json-seq", "gzip", "deflate"],
)
async def test_accepted_means_in_the_database(client: Client, body: bytes, headers: dict[str, str], ids: list[str]) -> None:
    """Every form of a body: 202 only when the rows are in the file."""
    answer = await client.post(body, headers=headers)
    assert (answer.status, answer.json["accepted"], answer.json["errors"]) == (202, len(ids), [])
    assert rows(client) == ids


async def test_repeats_are_told(client: Client) -> None:
    """The same event_id again is no second event, and the caller learns it."""
    await client.send([event(1)])
    answer = await client.post([event(1), event(2)])
    assert answer.json == {"accepted": 2, "rejected": 0, "duplicates": 1, "filtered": 0, "errors": []}
    assert rows(client) == ["e1", "e2"]


async def test_a_bad_event_is_named_by_its_index_and_harms_no_other(client: Client) -> None:
    """Good and bad mixed: the good are stored, each bad one has its index, code and reason, and is kept as a dead letter."""
    body = b'[%s, 7, {"service_name": "x"}, %s, null]' % (json.dumps(event(1)).encode(), json.dumps(event(2)).encode())
    answer = await client.post(body)
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (202, 2, 3)
    assert [(error["index"], error["code"]) for error in answer.json["errors"]] == [
        (1, "not_an_object"),
        (2, "missing_field"),
        (4, "not_an_object"),
    ]
    assert rows(client) == ["e1", "e2"]
    ledger = (await client.get("/api/v1/ledger")).json
    assert ledger["balanced"]
    assert (ledger["partitions"][0]["stored"], ledger["partitions"][0]["dead_lettered"]) == (2, 3)


async def test_errors_are_listed_up_to_a_hundred_and_counted_all(client: Client) -> None:
    """A large bad request gets an answer of bounded size."""
    answer = await client.post([event(1), *([{}] * 300)])
    assert (answer.json["rejected"], len(answer.json["errors"])) == (300, 100)


@pytest.mark.parametrize(
    "body",
    [b"{", b"nonsense", b"\x00\xff\xfe", b"[1, 2", b'{"a": 1}}', b'"text"', b"[" * 200_000, b'{"a":' * 100_000, b"1" * 5_000, b"NaN"],
    ids=lambda body: repr(body[:12]),
)
async def test_garbage_is_refused(client: Client, body: bytes) -> None:
    """No event in it: 400 with the reasons, never a server error, and it is accounted for."""
    answer = await client.post(body)
    assert answer.status == 400
    assert answer.json["rejected"] == len(answer.json["errors"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (await client.get("/api/v1/ledger")).json["balanced"]


@pytest.mark.parametrize("body", [b"", b" \n\t ", b"[]", b"\n\n", b"\xef\xbb\xbf"])
async def test_an_empty_body_holds_no_event(client: Client, body: bytes) -> None:
    """Nothing sent is a mistake of the caller, told as such."""
    answer = await client.post(body)
    assert (answer.status, answer.json["detail"][:22]) == (400, "the body holds no even")


async def test_too_many_events_are_refused_as_one(start: Started) -> None:
    """Beyond max_events_per_request nothing is taken; at the limit everything is."""
    client = await start(http=HttpIngest(max_events_per_request=3))
    assert (await client.post([event(i) for i in range(4)])).status == 413
    assert (await client.post(b"{}\n" * 4, headers={"Content-Type": "application/x-ndjson"})).status == 413
    assert rows(client) == []
    assert (await client.post([event(i) for i in range(3)])).status == 202


async def test_a_large_body_is_refused(start: Started) -> None:
    """A body of max_body_size is taken, one byte more is 413; so is one that only decompresses to it, and one without a length."""
    client = await start(api=Api(max_body_size=2_048))
    fits = json.dumps(event(1)).encode().ljust(2_048)
    assert (await client.post(fits)).status == 202
    assert (await client.post(fits + b" ")).status == 413
    assert (await client.post(gzip.compress(fits + b" "), headers={"Content-Encoding": "gzip"})).status == 413
    answer = await client.post(b" " * 600_000)
    assert (answer.status, answer.json["title"]) == (413, "Content Too Large")
    assert "2048" in answer.json["detail"]


@pytest.mark.usefixtures("traced")
async def test_a_gzip_bomb_costs_little(start: Started) -> None:
    """256 MiB in 256 KiB: 413, and memory follows the limit, not the bomb."""
    client = await start(api=Api(max_body_size=MIB))
    body = bomb(256)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    answer = await client.post(body, headers={"Content-Encoding": "gzip"})
    assert answer.status == 413
    assert tracemalloc.get_traced_memory()[1] - before < 12 * MIB
    assert (await client.get("/health/ready")).status == 200


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("body", [b"[" + b"1," * 4_000_000 + b"1]", b"1\n" * 4_000_000, b"\n" * 8_000_000], ids=["array", "lines", "blank"])
async def test_millions_of_elements_cost_little(client: Client, body: bytes) -> None:
    """A body within its size limit that holds millions of tiny records is refused before memory is spent on them."""
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    answer = await client.post(body)
    assert answer.status in {400, 413}
    assert tracemalloc.get_traced_memory()[1] - before < 5 * len(body)


async def test_a_body_that_cannot_be_decompressed_is_the_callers_mistake(client: Client) -> None:
    """Broken gzip and unknown encodings: 4xx with an answer that arrives, and the daemon goes on."""
    broken = await client.post(b"not gzip at all", headers={"Content-Encoding": "gzip"})
    assert (broken.status, broken.headers["Content-Type"]) == (400, "application/problem+json")
    unknown = await client.post(b"x", headers={"Content-Encoding": "compress"})
    assert (unknown.status, unknown.headers["Accept-Encoding"]) == (415, "gzip, deflate")
    await client.send([event(1)])


async def test_a_full_queue_says_when_to_come_again(start: Started) -> None:
    """The store is stuck: what fits waits, what does not gets 429 with Retry-After; what waited is stored later."""
    stuck = Stuck()
    client = await start(http=HttpIngest(queue_max_bytes=1_024), prepare=stuck)
    waiting = asyncio.create_task(client.post(event(1, request_id="r" * 900)))
    await stuck.reached.wait()
    refused = await client.post(event(2))
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert not waiting.done()
    stuck.go.set()
    assert (await waiting).status == 202
    assert (await client.post(event(2))).status == 202
    assert rows(client) == ["e1", "e2"]
    assert 'sentinel_ingestion_errors_total{type="queue_full"} 1.0' in (await client.get("/metrics")).body.decode()


async def test_no_confirm_in_time_is_no_acceptance(start: Started) -> None:
    """The store does not answer within timeout_secs: 503; what was sent may still be stored, and the answer says so."""
    stuck = Stuck()
    client = await start(api=Api(timeout_secs=0.05), prepare=stuck)
    answer = await client.post(event(1))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "event_ids" in answer.json["detail"]
    stuck.go.set()

    async def stored() -> bool:
        return rows(client) == ["e1"]

    await until(stored)


async def test_a_caller_that_leaves_costs_nothing(client: Client) -> None:
    """The connection ends in the middle of a body: no server error is noted, and others are served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.daemon.server.port)
    writer.write(b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n[")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await client.send([event(1)])
    text = (await client.get("/metrics")).body.decode()
    assert 'status="500"' not in text
    assert reader.at_eof()


async def test_ingest_that_is_off_says_how_to_switch_it_on(start: Started) -> None:
    """ingestion.http.enabled false: 404 names the key, and queries are served all the same."""
    client = await start(http=HttpIngest(enabled=False))
    answer = await client.post(event(1))
    assert (answer.status, "ingestion.http.enabled" in answer.json["detail"]) == (404, True)
    assert (await client.get("/api/v1/telemetry")).json["count"] == 0
