"""What a delivery is in InfluxDB: tags, fields and times of its points."""

import json
from dataclasses import replace

import numpy as np
import pytest
from line_protocol_parser import parse_line

from sentinel.config.schema import InfluxDB
from sentinel.core.anomaly import DETECTORS, DetectorName
from sentinel.core.batch import CleanBatch, Dimensions, SeriesKey
from sentinel.core.flags import Flag
from sentinel.core.metrics import COST, LATENCY
from sentinel.storage import influx_points, line_protocol
from sentinel.storage.influx_points import HOUR_NS, Heads, event_lines
from sentinel.storage.influx_requests import requests_of
from sentinel.storage.line_protocol import MAX_STRING_BYTES
from sentinel.testing.store_events import LOG, SEARCH, START_NS, anomalies, events, write_of


def lines(batch: CleanBatch) -> list[str]:
    """The lines of a batch that all can be written."""
    made = event_lines(batch, Heads())
    assert not made.refused
    assert list(made.rows) == list(range(len(batch)))
    return [line.decode() for line in made.lines]


def test_an_event_is_one_point() -> None:
    """Series, dimensions of few values and the log are tags; all else is a field; the time is the event's with the offset in it."""
    batch = replace(
        events(1, first=1_000_041),
        dimension_sets=(Dimensions("openai", "chat", "prod", "eu", "stop", "v 3"),),
        flags=np.array([int(Flag.CLEANED)], np.int32),
        trace_ids=["trace"],
        extra=[b'{"user_id":"u_1"}'],
    )
    (line,) = lines(batch)
    assert parse_line(line) == {
        "measurement": "llm_telemetry",
        "tags": {
            "tenant": "default",
            "service": "chat-api",
            "model": "gpt-4",
            "provider": "openai",
            "operation": "chat",
            "environment": "prod",
            "region": "eu",
            "partition": "kafka/llm.telemetry/0",
        },
        "fields": {
            "finish_reason": "stop",
            "prompt_version": "v 3",
            "dialect": 0,
            "flags": 64,
            "latency_ms": 1_000_042.0,
            "prompt_tokens": float(1_000_041 % 7),
            "cost_usd": 100.00420000000001,
            "error": 0.0,
            "offset": 1_000_041,
            "event_id": "event-0-1000041",
            "trace_id": "trace",
            "extra": '{"user_id":"u_1"}',
            "ts_ns": START_NS,
        },
        "time": START_NS // 1_000_000 * 1_000_000 + 41,
    }


def test_points_of_one_millisecond_have_keys_of_their_own() -> None:
    """Events of one series and millisecond differ in tags or time: by offset, by place within the record, and by log."""
    batch = events(4_000, step_ns=0)
    batch.offsets[:] = np.arange(4_000) // 4 + 999_500  # across a multiple of a million
    batch.subs[:] = np.arange(4_000) % 4
    batch.ts_ns[:] += np.arange(4_000) % 1_000
    other = events(4_000, step_ns=0, source=LOG._replace(partition=1))
    keys = set()
    for line in lines(batch) + lines(other):
        point = parse_line(line)
        keys.add((tuple(sorted(point["tags"].items())), point["time"]))
    assert len(keys) == 8_000


def test_the_same_event_is_the_same_point_in_any_batch() -> None:
    """How deliveries are cut changes no byte of a point, so that a repeat overwrites."""
    batch = events(60, names=(SEARCH, SeriesKey("acme", "a b", "c,d")))
    batch.flags[::7] = 4
    batch.metrics[::3, LATENCY] = np.nan
    whole = lines(batch)
    one_by_one = [lines(batch.take(batch.offsets == offset))[0] for offset in batch.offsets.tolist()]
    assert one_by_one == whole


def test_columns_give_the_same_line_as_values() -> None:
    """A line made of whole columns says what one made value by value says."""
    batch = replace(events(3), extra=[b'{"a":"b\\"c\\\\"}', None, b"{}"], trace_ids=[None, "t", None])
    for row, line in enumerate(lines(batch)):
        metrics = dict(zip(("latency_ms", "prompt_tokens", "cost_usd", "error"), batch.metrics[row, [0, 3, 6, 7]].tolist(), strict=True))
        rest = batch.extra[row]
        alone = line_protocol.point(
            "llm_telemetry",
            [("tenant", "default"), ("service", "chat-api"), ("model", "gpt-4"), ("partition", str(LOG))],
            [
                *metrics.items(),
                ("dialect", 0),
                ("flags", 0),
                ("event_id", batch.event_ids[row]),
                ("trace_id", batch.trace_ids[row]),
                ("extra", None if rest is None else rest.decode()),
                ("offset", row),
                ("ts_ns", int(batch.ts_ns[row])),
            ],
            int(influx_points.point_times(batch.ts_ns, batch.offsets)[row]),
        )
        assert parse_line(line) == parse_line(alone)


def test_only_the_events_that_cannot_be_written_are_refused() -> None:
    """A name, an id, a rest or a number that does not fit refuses its own event, in words that name the field."""
    batch = events(1_000, names=(SEARCH, SeriesKey("default", "bad\x00name", "m")))
    batch.series[:] = 0
    batch.series[10] = 1
    batch.metrics[20, LATENCY] = np.inf
    ids, extra = list(batch.event_ids), list(batch.extra)
    ids[30], extra[40], extra[50] = "line\nbreak", b"\xff", b"\xc2\x85"
    made = event_lines(replace(batch, event_ids=ids, extra=extra), Heads())
    assert dict(made.refused) == {
        10: "the tag service holds the control character U+0000",
        20: "a metric is infinite",
        30: "the field event_id holds control characters",
        40: "the field extra is not UTF-8",
        50: "the field extra holds control characters",
    }
    assert [parse_line(line.decode())["fields"]["offset"] for line in made.lines] == [
        i for i in range(1_000) if i not in dict(made.refused)
    ]


def test_a_long_rest_is_cut_into_several_fields() -> None:
    """What is longer than a field may be is kept whole, cut between characters, and no other event is changed by it."""
    long = json.dumps({"text": "日本" * 40_000}, ensure_ascii=False).encode()
    batch = replace(events(3), extra=[b"{}", long, None])
    first, second, third = (parse_line(line)["fields"] for line in lines(batch))
    parts = [str(second[name]) for name in influx_points.extra_names() if name in second]
    assert len(parts) > 3
    assert max(len(part.encode()) for part in parts) <= MAX_STRING_BYTES
    assert "".join(parts).encode() == long
    assert first["extra"] == "{}"
    assert "extra" not in third


def test_a_rest_beyond_all_fields_is_refused() -> None:
    """An event that would need too many fields is refused, not cut short."""
    huge = b"x" * (MAX_STRING_BYTES * influx_points.MAX_EXTRA_PARTS + 1)
    made = event_lines(replace(events(2), extra=[huge, None]), Heads())
    assert [row for row, _ in made.refused] == [0]
    assert len(made.lines) == 1


def test_heads_are_bounded() -> None:
    """What is remembered between batches has a limit, whatever names come."""
    heads = Heads(kept=100)
    batch = events(1_000, names=tuple(SeriesKey("default", f"service-{i}", "m") for i in range(1_000)))
    assert list(event_lines(batch, heads).lines) == list(event_lines(batch, Heads()).lines)
    assert max(map(len, (heads._heads, heads._numbers))) <= 100


def test_few_of_many_possible_heads() -> None:
    """Where far more series and dimensions are named than there are events, each event still has its own."""
    batch = events(3, names=tuple(SeriesKey("default", f"service-{i}", "m") for i in range(100)))
    batch = replace(batch, dimension_sets=tuple(Dimensions(region=f"r{i}") for i in range(100)))
    batch.series[:], batch.dimensions[:] = [99, 0, 99], [99, 50, 99]
    tags = [parse_line(line)["tags"] for line in lines(batch)]
    assert [(tag["service"], tag["region"]) for tag in tags] == [("service-99", "r99"), ("service-0", "r50"), ("service-99", "r99")]


def test_an_anomaly_is_one_point_at_its_events_time() -> None:
    """Metric, detector and severity are tags, numbers are fields, absent ones are left out and infinite ones are the largest number."""
    batch = events(3)
    found = anomalies(batch, [(2, LATENCY, DetectorName.CUSUM, 2)])
    found.score[0] = np.inf
    (line,) = influx_points.anomaly_lines(batch, found, [0], Heads())
    point = parse_line(line.decode())
    assert point["measurement"] == "llm_anomalies"
    assert point["tags"]["detector"] == "cusum"
    assert point["tags"]["severity"] == "critical"
    assert point["fields"]["id"] == found.ids[0]
    assert point["fields"]["score"] == np.finfo(float).max
    assert "lower" not in point["fields"]
    assert point["time"] == parse_line(lines(batch)[2])["time"]


def test_many_anomalies_are_written_each_with_its_own_values() -> None:
    """Columns do not slip: each line has the numbers, the names and the time of its own anomaly and event, also what few have."""
    names = tuple(SeriesKey("default", f"service {i}", "m=1") for i in range(3))
    batch = replace(events(9, names=names), subs=np.array([0, 0, 1] * 3, np.int32))
    batch = replace(batch, event_ids=[None, 'say "hi"', *batch.event_ids[2:]], trace_ids=["t", *[None] * 8])
    kinds = [(LATENCY, DetectorName.ZSCORE, 1), (LATENCY, DetectorName.CUSUM, 2), (COST, DetectorName.MAD, 0)]
    found = anomalies(batch, [(event, *kinds[event % 3]) for event in range(9)])
    chosen = [7, 0, 1, 2, 5]
    written = list(influx_points.anomaly_lines(batch, found, chosen, heads := Heads()))
    assert written == list(influx_points.anomaly_lines(batch, found, chosen, heads))
    assert not influx_points.anomaly_lines(batch, found, [], heads)
    events_written = lines(batch)
    for at, line in zip(chosen, written, strict=True):
        point, row = parse_line(line.decode()), int(found.event[at])
        assert (point["fields"]["id"], point["fields"]["value"]) == (found.ids[at], found.value[at])
        assert (point["fields"]["offset"], point["fields"]["samples"]) == (batch.offsets[row], found.samples[at])
        assert point["fields"].get("event_id") == batch.event_ids[row]
        assert point["fields"].get("trace_id") == batch.trace_ids[row]
        assert point["tags"]["service"] == batch.names[batch.series[row]].service
        assert point["tags"]["detector"] == DETECTORS[found.detector[at]]
        assert point["tags"].get("sub") == (str(batch.subs[row]) if batch.subs[row] else None)
        assert point["time"] == parse_line(events_written[row])["time"]


def test_requests_go_across_writes() -> None:
    """A request holds lines of several writes, each in its order, and knows the place in the log of every one of them."""
    section = InfluxDB(url="http://localhost:8181", batch_size=100)
    batches = [events(60), events(90, first=60), events(70, first=150)]
    requests = requests_of([write_of(batch, next_offset=220) for batch in batches], section, Heads()).requests
    assert [len(request.lines) for request in requests] == [100, 100, 20]
    together = [line for batch in batches for line in lines(batch)]
    assert [line.decode() for request in requests for line in request.lines] == together
    refusals = [request.refusal(i, "why") for request in requests for i in range(len(request.part))]
    assert [(refusal.offset, refusal.record, refusal.record_bytes) for refusal in refusals] == [
        (offset, line, len(line)) for offset, line in enumerate(together)
    ]


@pytest.mark.parametrize("now_ns", [START_NS, START_NS + 1])
def test_a_position_stands_at_its_hour(now_ns: int) -> None:
    """Positions of one hour are one point, so that there are few of them, and the newest is in the newest files."""
    point = parse_line(influx_points.position_line(LOG, 7, now_ns))
    assert point["time"] == START_NS // HOUR_NS * HOUR_NS
    assert point["tags"] == {"partition": "kafka/llm.telemetry/0"}
    assert point["fields"] == {"next_offset": 7}
