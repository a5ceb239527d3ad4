"""The producer in an application: what it refuses at once, what it does at the end of a process and in a fork, and what it imports."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_double import Double, daemon_double

from llm_sentinel import DeliveryError, InvalidEventError, Security, TelemetryProducer

SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture
def daemon() -> Iterator[Double]:
    """A daemon's double."""
    with daemon_double() as double:
        yield double


def python(program: str, *arguments: str) -> str:
    """What a Python process prints that has the package and nothing of ours on its path."""
    done = subprocess.run(
        (sys.executable, "-c", program, *arguments),
        check=False,
        capture_output=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "give either brokers"),
        ({"brokers": ["a:1"], "url": "http://a"}, "give either brokers"),
        ({"brokers": ["a:1"], "bootstrap_servers": ["a:1"]}, "give either brokers"),
        ({"url": "http://a", "buffer_max_events": 0}, "more than 0"),
        ({"url": "http://a", "buffer_max_bytes": 0}, "more than 0"),
        ({"url": "http://a", "delivery_timeout_s": 0}, "more than 0"),
        ({"url": "http://a", "client_options": {}}, "client_options are for Kafka"),
        ({"brokers": ["a:1"], "api_key": "k"}, "api_key is for HTTP"),
        ({"brokers": []}, "brokers: give"),
        ({"brokers": "a:1,,b:1"}, "brokers: give"),
        ({"brokers": ["a:1"], "topic": "not a topic"}, "topic: must"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings: dict[str, Any], reason: str) -> None:
    """Each with what to do about it."""
    with pytest.raises(ValueError, match=reason):
        TelemetryProducer(**settings)


def test_strict_or_not(daemon: Double) -> None:
    """Strict: an invalid event raises with its field's name. Not strict: nothing raises, it is counted and told."""
    with TelemetryProducer(url=daemon.url) as producer:
        with pytest.raises(InvalidEventError, match="latency_ms"):
            producer.create_telemetry_event("chat", "m", latency_ms=-1)
        with pytest.raises(InvalidEventError, match="latency_ms"):
            producer.send_event({"service_name": "chat", "model_name": "m", "latency_ms": "x"})
        assert producer.stats().invalid == 1
    told: list[DeliveryError] = []
    with TelemetryProducer(url=daemon.url, strict=False, on_error=told.append) as producer:
        assert not producer.send_event(producer.create_telemetry_event("chat", "m", latency_ms=-1))
        assert producer.send_event(producer.create_telemetry_event("chat", "m", latency_ms=1))
    assert (producer.stats().invalid, producer.stats().delivered) == (1, 1)
    assert told == [DeliveryError("invalid event: latency_ms: must be 0 or more, and finite", 1)]


def test_a_producer_does_not_show_its_secrets() -> None:
    """Neither itself nor its settings."""
    with TelemetryProducer(url="http://127.0.0.1:1", api_key="k-secret") as producer:
        assert repr(producer) == "TelemetryProducer('http://127.0.0.1:1/api/v1/events')"
    assert "hunter2" not in repr(Security(username="u", password="hunter2"))


def test_the_end_of_the_process_sends_what_is_buffered(daemon: Double) -> None:
    """A script that neither flushes nor closes loses nothing."""
    python(
        "import sys\n"
        "from llm_sentinel import TelemetryProducer\n"
        "producer = TelemetryProducer(url=sys.argv[1], linger_ms=200)\n"
        "for i in range(50): producer.send_event(producer.create_telemetry_event('chat', 'm', 1.0, event_id=f'e{i}'))\n",
        daemon.url,
    )
    assert [event["event_id"] for event in daemon.events] == [f"e{i}" for i in range(50)]


def test_the_end_of_the_process_is_bounded(daemon: Double) -> None:
    """A daemon that does not answer does not keep the process from ending."""
    daemon.gate.clear()
    told = python(
        "import sys\n"
        "from llm_sentinel import TelemetryProducer\n"
        "producer = TelemetryProducer(url=sys.argv[1], close_timeout_s=0.1, on_error=print)\n"
        "producer.send_event(producer.create_telemetry_event('chat', 'm', 1.0))\n",
        daemon.url,
    )
    assert told == "given up: the producer was closed before it was confirmed (1 events lost)"


def test_a_producer_that_is_forgotten_sends_what_is_buffered(daemon: Double) -> None:
    """Nobody closes it and nothing refers to it any more."""

    def forget() -> None:
        producer = TelemetryProducer(url=daemon.url)
        producer.send_event(producer.create_telemetry_event("chat", "m", 1.0))

    forget()
    assert len(daemon.events) == 1


FORKING = """
import json, os, sys
from llm_sentinel import TelemetryProducer
producer = TelemetryProducer(**json.loads(sys.argv[1]))
producer.send_event(producer.create_telemetry_event("chat", "m", 1.0, event_id="before"))
assert producer.flush(20) == 0
producer.send_event(producer.create_telemetry_event("chat", "m", 1.0, event_id="parent"))
child = os.fork()
if child == 0:
    assert producer.stats().accepted == 0
    producer.send_event(producer.create_telemetry_event("chat", "m", 1.0, event_id="child"))
    assert producer.flush(20) == 0, producer.stats()
    assert producer.stats().delivered == 1
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert producer.flush(20) == 0
print(producer.stats().delivered)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_parent_and_child_send_each_their_own(daemon: Double) -> None:
    """After a fork the child's producer works, and what the parent had buffered is sent once."""
    assert python(FORKING, json.dumps({"url": daemon.url})) == "2"
    assert sorted(event["event_id"] for event in daemon.events) == ["before", "child", "parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_works_over_kafka() -> None:
    """Likewise with the Kafka client, whose threads do not survive a fork; its own mock of a broker confirms."""
    settings = {"brokers": ["127.0.0.1:1"], "client_options": {"test.mock.num.brokers": 1}}
    assert python(FORKING, json.dumps(settings)) == "2"


def test_importing_it_imports_little() -> None:
    """Neither numpy nor the daemon, neither a Kafka client nor an HTTP client; and a producer imports the one it needs."""
    program = (
        "import sys, llm_sentinel\n"
        "heavy = {'numpy', 'sentinel', 'confluent_kafka', 'http.client', 'aiokafka', 'asyncio', 'ssl', 'msgspec', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "llm_sentinel.TelemetryProducer(url='http://127.0.0.1:1')\n"
        "print('confluent_kafka' in sys.modules, 'http.client' in sys.modules)\n"
    )
    assert python(program).splitlines() == ["[]", "False True"]


def test_a_missing_kafka_client_is_told_with_its_cure() -> None:
    """At construction, not at the first event."""
    program = (
        "import sys\n"
        "sys.modules['confluent_kafka'] = None\n"
        "from llm_sentinel import TelemetryProducer\n"
        "try:\n    TelemetryProducer(brokers=['a:1'])\n"
        "except ImportError as error:\n    print(error)\n"
    )
    assert python(program) == "sending to Kafka needs the Kafka client: pip install 'llm-sentinel-sdk[kafka]'"
