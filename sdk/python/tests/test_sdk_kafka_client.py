"""The Kafka client's settings, and its behaviour against the mock of a broker that it brings along."""

from typing import Any

import pytest

from llm_sentinel import DeliveryError, Security, TelemetryProducer
from llm_sentinel.kafka import client_options
from llm_sentinel.transport import Limits

LIMITS = Limits(max_events=1_000, max_bytes=1_048_576, delivery_timeout_s=300.0, linger_s=0.005)
MOCK = {"test.mock.num.brokers": 1}


def producer(**settings: Any) -> TelemetryProducer:
    """A producer that reaches the mock, or nobody when told so."""
    return TelemetryProducer(**{"brokers": "127.0.0.1:1", "client_options": MOCK} | settings)


def send(to: TelemetryProducer, n: int) -> list[bool]:
    """Send n events."""
    return [to.send_event(to.create_telemetry_event("chat", "m", 1.0, event_id=f"e{i}")) for i in range(n)]


def test_limits_and_tls_reach_the_client() -> None:
    """Every setting has its property; what the application gives wins."""
    security = Security(username="u", password="p", ca_file="/ca.pem", cert_file="/c.pem", key_file="/k.pem")
    options = client_options(["a:1", " b:2 "], security, LIMITS, {"compression.type": "zstd", "acks": "1"})
    assert options["bootstrap.servers"] == "a:1,b:2"
    assert (options["queue.buffering.max.messages"], options["queue.buffering.max.kbytes"]) == (1_000, 1_024)
    assert (options["message.timeout.ms"], options["linger.ms"]) == (300_000, 5.0)
    assert (options["security.protocol"], options["sasl.mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (options["sasl.username"], options["sasl.password"]) == ("u", "p")
    assert options["ssl.ca.location"] == "/ca.pem"
    assert (options["ssl.certificate.location"], options["ssl.key.location"]) == ("/c.pem", "/k.pem")
    assert (options["compression.type"], options["acks"]) == ("zstd", "1")
    assert options["partitioner"] == "murmur2_random"


@pytest.mark.parametrize(
    ("security", "protocol"),
    [
        (Security(), "PLAINTEXT"),
        (Security(ca_file="/ca.pem"), "SSL"),
        (Security(protocol="SSL"), "SSL"),
        (Security(username="u", password="p"), "SASL_SSL"),
        (Security(protocol="SASL_PLAINTEXT", username="u", password="p", insecure=True), "SASL_PLAINTEXT"),
    ],
)
def test_the_likely_protocol_is_taken(security: Security, protocol: str) -> None:
    """A password means encryption unless told otherwise."""
    assert security.for_kafka(["a:1"])["security.protocol"] == protocol


@pytest.mark.parametrize(
    ("security", "reason"),
    [
        (Security(protocol="SASL_PLAINTEXT", username="u", password="hunter2"), "unencrypted"),
        (Security(username="u"), "needs"),
        (Security(protocol="SASL_SSL"), "needs"),
        (Security(protocol="SSL", username="u", password="hunter2"), "SASL protocol"),
    ],
)
def test_unsafe_or_half_settings_are_refused(security: Security, reason: str) -> None:
    """At once, and the error does not hold the password."""
    with pytest.raises(ValueError, match=reason) as error:
        TelemetryProducer(brokers=["kafka:9092"], security=security)
    assert "hunter2" not in str(error.value)


def test_options_the_client_does_not_know_are_refused() -> None:
    """With the property's name, at once."""
    with pytest.raises(ValueError, match=r'does not take its options: .*"no\.such"'):
        producer(client_options={"no.such": 1})


def test_events_are_confirmed() -> None:
    """Closing waits for the confirms."""
    with producer() as sending:
        assert all(send(sending, 500))
    stats = sending.stats()
    assert (stats.accepted, stats.delivered, stats.failed, stats.buffered) == (500, 500, 0, 0)
    assert not sending.send_event(sending.create_telemetry_event("chat", "m", 1.0))
    assert sending.stats().dropped == 1
    sending.close()


def test_a_full_buffer_drops_and_tells() -> None:
    """No broker: what fits waits, the rest is dropped at once; closing gives up in time and tells what is lost, each once."""
    told: list[DeliveryError] = []
    with producer(client_options={}, buffer_max_events=10, close_timeout_s=0.2, on_error=told.append) as sending:
        assert send(sending, 15) == [True] * 10 + [False] * 5
        assert sending.flush(0.1) == 10
        assert any("Connect" in error.reason for error in told)
    stats = sending.stats()
    assert (stats.accepted, stats.failed, stats.dropped, stats.buffered) == (10, 10, 5, 0)
    lost = {error.reason: error for error in told if error.lost}
    assert lost["the buffer is full"].event_ids == tuple(f"e{i}" for i in range(10, 15))
    (given_up,) = (error for reason, error in lost.items() if reason.startswith("given up"))
    assert sorted(given_up.event_ids) == [f"e{i}" for i in range(10)]


def test_room_may_be_waited_for() -> None:
    """With a broker the buffer empties while the call waits; without one it waits no longer than told."""
    with producer(buffer_max_events=5, block_timeout_s=20) as sending:
        assert all(send(sending, 100))
    assert sending.stats().delivered == 100
    with producer(client_options={}, buffer_max_events=1, block_timeout_s=0.05, close_timeout_s=0.05, on_error=lambda _: None) as sending:
        assert send(sending, 2) == [True, False]


def test_an_event_that_is_not_confirmed_in_time_has_failed() -> None:
    """`delivery_timeout_s` bounds how long it is tried."""
    told: list[DeliveryError] = []
    with producer(client_options={}, delivery_timeout_s=0.2, on_error=told.append) as sending:
        send(sending, 3)
        assert sending.flush(20) == 0
    assert sending.stats().failed == 3
    (lost,) = (error for error in told if error.lost)
    assert lost == DeliveryError("not confirmed within the delivery timeout", 3, ("e0", "e1", "e2"))


def test_what_the_client_refuses_does_not_reach_the_host() -> None:
    """A record larger than the application's own limit is counted and told."""
    told: list[DeliveryError] = []
    with producer(client_options={**MOCK, "message.max.bytes": 1_000}, on_error=told.append) as sending:
        assert not sending.send_event({"service_name": "chat", "model_name": "m", "latency_ms": 1, "prompt_text": "x" * 5_000})
        assert all(send(sending, 3))
    assert (sending.stats().delivered, sending.stats().dropped) == (3, 1)
    assert "too large" in told[0].reason
