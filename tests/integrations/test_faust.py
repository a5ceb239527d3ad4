"""The records for Faust hold what our JSON documents hold, field by field, and take nothing else from a producer."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_type_hints
from unittest.mock import Mock

import faust
import msgspec
import numpy as np
import orjson
import pytest
from delivery_inputs import notification

from sentinel.alerting.render import amqp_body
from sentinel.config.schema import Parsing
from sentinel.core.alert import Alert
from sentinel.core.anomaly import Anomaly, Contributor
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.ingestion.decode import decode
from sentinel.ingestion.dialects import canonicalize
from sentinel.ingestion.wire import WireEvent
from sentinel.integrations.faust import AlertDocument, AnomalyDocument, ContributorDocument, TelemetryEvent, alerts_topic, events_topic
from sentinel.testing.simulator import Simulator

EXAMPLES = Path(__file__).parents[2] / "examples" / "events.jsonl"
START_NS = 1_768_473_000_000_000_000
EVENT = {"service_name": "chat", "model_name": "gpt-4", "latency_ms": 12.5}
ALIASES = {"service", "application", "model", "duration_ms", "inference_time", "prompt", "response"}
"""Spelled out in the flat fields when a record is read, as the daemon does."""
NOT_OURS = {"resourceSpans", "prompt_sketch", "response_sketch"}
"""OTLP holds many events, so a record of it is none; sketches are written and read by LLM-Sentinel alone."""
JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object", type(None): "null"}


def json_types(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a schema takes; empty for any."""
    if "anyOf" in schema:
        return set().union(*map(json_types, schema["anyOf"]))
    if "$ref" in schema:  # outside of a list, only enumerations are referred to
        return {"string"}
    return {schema["type"]} if "type" in schema else set()


def python_types(hint: object) -> set[str]:
    """The JSON types of an annotation; empty for any."""
    if hint is Any:
        return set()
    arms = get_args(hint) if type(None) in get_args(hint) else (hint,)
    return {JSON_TYPES[getattr(arm, "__origin__", arm)] for arm in arms}


@pytest.mark.parametrize(("record", "document"), [(AlertDocument, Alert), (AnomalyDocument, Anomaly), (ContributorDocument, Contributor)])
def test_documents_have_the_fields_of_the_schema(record: type[faust.Record], document: type[msgspec.Struct]) -> None:
    """Every field of the JSON schema, no other, with the same types and the same ones required, but for those that may be null."""
    _, components = msgspec.json.schema_components([document])
    schema = components[document.__name__]
    assert set(record._options.fields) == set(schema["properties"])
    hints = get_type_hints(record)
    for name, field in schema["properties"].items():
        assert python_types(hints[name]) == json_types(field), name
    nullable = {name for name, field in schema["properties"].items() if "null" in json_types(field)}
    assert set(record._options.fields) - set(record._options.defaults) == set(schema["required"]) - nullable


def test_the_event_has_the_fields_of_the_wire() -> None:
    """Every field of a record on the wire is a field, an alias or named here as not for applications; no other field is there."""
    fields = set(TelemetryEvent._options.fields)
    assert fields | ALIASES | NOT_OURS == {field.encode_name for field in msgspec.structs.fields(WireEvent)}
    assert not fields & (ALIASES | NOT_OURS)
    hints, wire_hints = get_type_hints(TelemetryEvent), get_type_hints(WireEvent)
    for name in fields - {"timestamp"}:
        ours, theirs = (python_types(some[name]) - {"null"} for some in (hints, wire_hints))
        assert ours == theirs or (ours, theirs) == ({"integer"}, {"number"}), name
    assert python_types(hints["timestamp"]) == {"string", "integer", "number", "null"}


def test_simulated_events_make_the_round_trip() -> None:
    """Read and written again, they are the same JSON, and the daemon decodes them to the same columns."""
    records = list(chain.from_iterable(Simulator(3, text_share=0.3).events(500, START_NS, 1_000_000)))
    again = [TelemetryEvent.loads(record).dumps() for record in records]
    assert [orjson.loads(record) for record in again] == [{"tenant": "default"} | orjson.loads(record) for record in records]
    before, after = (decode(delivery(some), Parsing()).batch for some in (records, again))
    assert before is not None
    assert after is not None
    assert np.array_equal(before.metrics, after.metrics, equal_nan=True)


def delivery(records: list[bytes]) -> Delivery:
    """The records as a source would hand them over."""
    n = len(records)
    return Delivery(PartitionId("test", "log", 0), records, np.arange(n), np.full(n, START_NS), START_NS, 0, sum(map(len, records)))


def test_every_dialect_reads_as_the_daemon_reads_it() -> None:
    """The shipped examples, aliases and the nested dialect among them: the same values in the same fields."""
    seen = 0
    for line in EXAMPLES.read_bytes().splitlines():
        wire = msgspec.json.decode(line, type=WireEvent)
        if canonicalize([wire], np.zeros(1, np.int8)) or wire.service_name is None:
            with pytest.raises(ValueError, match="Expected"):
                TelemetryEvent.loads(line)
            continue
        event, seen = TelemetryEvent.loads(line), seen + 1
        for name in set(TelemetryEvent._options.fields) - {"timestamp", "tenant"}:
            assert getattr(event, name) == getattr(wire, name), name
    assert seen == 18


def anomaly() -> Anomaly:
    """An anomaly with every field filled."""
    made = msgspec.convert({field.name: example(field.type) for field in msgspec.structs.fields(Anomaly)}, Anomaly)
    return msgspec.structs.replace(made, z_score=-2.5, contributors=[Contributor(dimension="user", value="p1_x", share=0.5)])


def example(hint: object) -> object:
    """A value of a field's type."""
    arms = get_args(hint) if type(None) in get_args(hint) else (hint,)
    return [] if getattr(arms[0], "__origin__", None) is list else {str: "text", int: 7, float: 1.5}[arms[0]]


def test_alerts_make_the_round_trip() -> None:
    """What RabbitMQ gets reads as a record, nested ones included, and is written as the same JSON."""
    alert = msgspec.structs.replace(notification(1).alert, anomalies=[anomaly()], links={"runbook": "https://example.com/"})
    body = amqp_body(msgspec.structs.replace(notification(1), alert=alert))
    record = AlertDocument.loads(body)
    assert orjson.loads(record.dumps()) == orjson.loads(body)
    assert isinstance(record.anomalies[0], AnomalyDocument)
    assert isinstance(record.anomalies[0].contributors[0], ContributorDocument)
    assert (record.severity, record.anomalies[0].z_score) == ("warning", -2.5)


def test_an_older_alert_reads() -> None:
    """Fields with a default may be missing, and no two records share a list."""
    full = orjson.loads(amqp_body(notification(1)))
    bare = {name: full[name] for name in set(full) - set(AlertDocument._options.defaults)}
    first, second = (AlertDocument.loads(orjson.dumps(bare)) for _ in range(2))
    first.anomalies.append(None)
    first.labels["team"] = "search"
    assert (second.anomalies, second.labels, second.count, second.tenant) == ([], {}, 1, "default")


@pytest.mark.parametrize("name", ["asdict", "dumps", "__strict__", "__faust", "__class__", "self", "unknown"])
def test_unknown_fields_do_not_reach_the_record(name: str) -> None:
    """Whatever they are called: they neither break the record nor stand in the place of its methods."""
    event = TelemetryEvent.loads(orjson.dumps(EVENT | {name: {"ns": "sentinel.integrations.faust.AlertDocument"}}))
    assert orjson.loads(event.dumps()) == EVENT | {"tenant": "default"}


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"5",
        b"null",
        b"{}",
        b'{"resourceSpans": []}',
        orjson.dumps(EVENT | {"latency_ms": "12"}),
        orjson.dumps(EVENT | {"service_name": None}),
        orjson.dumps(EVENT | {"prompt_tokens": 1.5}),
        orjson.dumps(EVENT | {"cost_usd": [1]}),
    ],
)
@pytest.mark.parametrize("topic", [events_topic, lambda app: alerts_topic(app, "alerts")])
async def test_what_is_none_comes_as_none(topic: Callable[[Any], Any], value: bytes | None) -> None:
    """A record that is no event, or no alert, reaches the agent as None instead of ending its work."""
    app = faust.App("test")
    message = Mock(key=None, value=value, headers={})
    assert (await topic(app).decode(message, propagate=True)).value is None


async def test_topics_have_their_records() -> None:
    """The topics are named as asked, and their values are events and alerts; a key is taken as it is, whatever it is."""
    app = faust.App("test")
    events, alerts = events_topic(app), alerts_topic(app, "alerts")
    assert (events.topics, alerts.topics) == (("llm.telemetry",), ("alerts",))
    event = await events.decode(Mock(key=b"\xff", value=orjson.dumps(EVENT), headers={}), propagate=True)
    alert = await alerts.decode(Mock(key=None, value=amqp_body(notification(1)), headers={}), propagate=True)
    assert isinstance(event.value, TelemetryEvent)
    assert isinstance(alert.value, AlertDocument)
    assert event.key == b"\xff"
