"""Over HTTP: every event is answered for once; a busy, absent or broken daemon delays, and loses nothing before its time."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_double import Answer, Double, daemon_double

from llm_sentinel import DeliveryError, Security, TelemetryProducer
from llm_sentinel import http as transport
from llm_sentinel.http import pause_s
from llm_sentinel.http_post import Later, Poster, Refused, Taken, meaning


@pytest.fixture
def daemon() -> Iterator[Double]:
    """A daemon's double."""
    with daemon_double() as double:
        yield double


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float | None]]:
    """Pauses of a hundredth of a second; returns what was asked for."""
    asked: list[tuple[int, float | None]] = []

    def note(tried: int, asked_s: float | None) -> float:
        asked.append((tried, asked_s))
        return 0.01

    monkeypatch.setattr(transport, "pause_s", note)
    return asked


def send(producer: TelemetryProducer, n: int, first: int = 0) -> list[str]:
    """Send n events; their ids."""
    ids = [f"e{i}" for i in range(first, first + n)]
    for name in ids:
        assert producer.send_event(producer.create_telemetry_event("chat", "m", 100.0, event_id=name))
    return ids


def test_events_arrive_once_in_order_and_in_batches(daemon: Double) -> None:
    """1,200 events go in few requests, in order, and closing waits for their confirms."""
    with TelemetryProducer(url=daemon.url, api_key="k-1") as producer:
        ids = send(producer, 1_200)
    assert [event["event_id"] for event in daemon.events] == ids
    assert set(daemon.paths) == {"/api/v1/events"}
    assert set(daemon.keys) == {"k-1"}
    assert all(len(request) <= transport.REQUEST_EVENTS for request in daemon.requests)
    assert producer.stats().delivered == 1_200
    assert producer.stats().buffered == 0


def test_a_busy_daemon_is_obeyed(daemon: Double, quick: list[tuple[int, float | None]]) -> None:
    """429 and 503 are waited out, as long as the daemon says, and the same events go again."""
    daemon.script = [Answer(429, headers={"Retry-After": "7"}), Answer(503), Answer(429, headers={"Retry-After": "soon"})]
    with TelemetryProducer(url=daemon.url) as producer:
        ids = send(producer, 3)
    assert [event["event_id"] for event in daemon.events] == ids
    assert quick == [(1, 7.0), (2, None), (3, None)]
    assert producer.stats().delivered == 3


def test_a_daemon_that_comes_back_gets_everything(quick: list[tuple[int, float | None]]) -> None:
    """Nobody listens: events wait, the trouble is told; once it is there, all arrive."""
    with daemon_double() as first:
        port = first.port
    told: list[DeliveryError] = []
    producer = TelemetryProducer(url=f"http://127.0.0.1:{port}", on_error=told.append)
    ids = send(producer, 50)
    assert producer.flush(0.2) == 50
    assert told
    assert "no answer" in told[0].reason
    assert not any(error.lost for error in told)
    with daemon_double(port) as daemon:
        assert producer.flush(20) == 0
        assert [event["event_id"] for event in daemon.events] == ids
        producer.close()
    assert (producer.stats().delivered, producer.stats().failed) == (50, 0)


def test_a_lost_answer_sends_the_same_ids_again(daemon: Double) -> None:
    """The connection breaks without an answer: the events go again, with the ids by which the daemon tells repeats."""
    with TelemetryProducer(url=daemon.url) as producer:
        send(producer, 1)
        producer.flush()
        daemon.script = [ConnectionError, ConnectionError]
        send(producer, 2, first=1)
        assert producer.flush(20) == 0
    assert [event["event_id"] for event in daemon.events] == ["e0", "e1", "e2"]
    assert producer.stats().delivered == 3


def test_what_the_daemon_rejects_is_named(daemon: Double) -> None:
    """Rejected events have failed, with their ids and reasons; the others of the request are delivered."""
    rejected = {"accepted": 2, "rejected": 2, "errors": [{"index": 1, "code": "too_large", "detail": "9 bytes"}, {"index": 2.5}, "x"]}
    daemon.gate.clear()
    daemon.script = [Answer(), Answer(202, rejected)]
    told: list[DeliveryError] = []
    with TelemetryProducer(url=daemon.url, on_error=told.append) as producer:
        send(producer, 1)
        daemon.wait_for(1)
        send(producer, 4, first=1)
        daemon.gate.set()
    assert (producer.stats().delivered, producer.stats().failed) == (3, 2)
    assert {(error.reason, error.lost, error.event_ids) for error in told} == {
        ("rejected by the daemon: too_large: 9 bytes", 1, ("e2",)),
        ("rejected by the daemon", 1, ()),
    }


def test_a_request_that_is_too_large_is_halved(daemon: Double) -> None:
    """413: the events go in smaller requests, down to one; one that is too large by itself has failed."""
    daemon.gate.clear()
    daemon.script = [Answer(), Answer(413), Answer(413), Answer(413)]
    with TelemetryProducer(url=daemon.url, on_error=lambda _: None) as producer:
        send(producer, 1)
        daemon.wait_for(1)
        send(producer, 4, first=1)
        daemon.gate.set()
    assert [event["event_id"] for event in daemon.events] == ["e0", "e2", "e3", "e4"]
    assert (producer.stats().delivered, producer.stats().failed) == (4, 1)


@pytest.mark.parametrize("status", [301, 401, 403, 404, 500])
def test_what_an_operator_can_put_right_loses_nothing(daemon: Double, status: int) -> None:
    """A missing key, a wrong URL, a failing daemon: events wait until it is put right. Redirects are not followed."""
    daemon.script = [Answer(status, headers={"Location": "http://127.0.0.1:9/"})] * 2
    told: list[DeliveryError] = []
    with TelemetryProducer(url=daemon.url, on_error=told.append) as producer:
        send(producer, 2)
        assert producer.flush(20) == 0
    assert producer.stats().delivered == 2
    assert str(status) in told[0].reason
    assert told[0].lost == 0


def test_an_answer_of_something_else_is_no_confirm(daemon: Double) -> None:
    """200 from a server that is no daemon delivers nothing."""
    daemon.script = [Answer(200, {"hello": "world"})]
    told: list[DeliveryError] = []
    with TelemetryProducer(url=daemon.url, on_error=told.append) as producer:
        send(producer, 1)
        assert producer.flush(20) == 0
    assert len(daemon.paths) == 2
    assert "check that the URL" in told[0].reason


def test_a_full_buffer_drops_the_new_and_counts(daemon: Double) -> None:
    """What does not fit is dropped at once, counted and named; what was in is delivered."""
    daemon.gate.clear()
    told: list[DeliveryError] = []
    producer = TelemetryProducer(url=daemon.url, buffer_max_events=10, on_error=told.append)
    send(producer, 10)
    for i in range(5):
        assert not producer.send_event({"service_name": "chat", "model_name": "m", "latency_ms": 1, "event_id": f"late{i}"})
    daemon.gate.set()
    producer.close()
    stats = producer.stats()
    assert (stats.accepted, stats.delivered, stats.dropped) == (10, 10, 5)
    assert told == [DeliveryError("the buffer is full", 5, tuple(f"late{i}" for i in range(5)))]


def test_a_full_buffer_may_be_waited_for(daemon: Double) -> None:
    """With `block_timeout_s` the call waits for room, and for no longer than that."""
    daemon.gate.clear()
    with TelemetryProducer(url=daemon.url, buffer_max_events=2, block_timeout_s=20, on_error=lambda _: None) as producer:
        send(producer, 2)
        daemon.wait_for(1)
        waiting = threading.Thread(target=send, args=(producer, 1, 2))
        waiting.start()
        daemon.gate.set()
        waiting.join(20)
        assert not waiting.is_alive()
    assert [event["event_id"] for event in daemon.events] == ["e0", "e1", "e2"]
    daemon.gate.clear()
    with TelemetryProducer(url=daemon.url, buffer_max_events=1, block_timeout_s=0.01, on_error=lambda _: None) as producer:
        send(producer, 1)
        assert not producer.send_event({"service_name": "chat", "model_name": "m", "latency_ms": 1})
        daemon.gate.set()
    assert producer.stats().dropped == 1


def test_the_buffer_is_bounded_in_bytes(daemon: Double) -> None:
    """A few large events fill it; one that is larger than all of it is taken when it is empty."""
    daemon.gate.clear()
    with TelemetryProducer(url=daemon.url, buffer_max_bytes=1_000, on_error=lambda _: None) as producer:
        large = {"service_name": "chat", "model_name": "m", "latency_ms": 1, "prompt_text": "x" * 2_000}
        assert producer.send_event(large)
        assert not producer.send_event(large)
        daemon.gate.set()
        assert producer.flush(20) == 0
        assert producer.send_event(large)
    assert producer.stats().delivered == 2


def test_an_event_that_is_not_confirmed_in_time_has_failed() -> None:
    """`delivery_timeout_s` bounds how long it is tried, and its id is told."""
    with daemon_double() as first:
        port = first.port
    told: list[DeliveryError] = []
    producer = TelemetryProducer(url=f"http://127.0.0.1:{port}", delivery_timeout_s=0.05, on_error=told.append)
    send(producer, 3)
    assert producer.flush(20) == 0
    producer.close()
    assert producer.stats().failed == 3
    lost = [error for error in told if error.lost]
    assert [(error.reason, error.event_ids) for error in lost] == [("not confirmed within the delivery timeout", ("e0", "e1", "e2"))]


def test_closing_gives_up_in_time(daemon: Double) -> None:
    """A daemon that does not answer does not hold the application up; what is left is told as lost, once."""
    daemon.gate.clear()
    told: list[DeliveryError] = []
    producer = TelemetryProducer(url=daemon.url, close_timeout_s=0.05, on_error=told.append)
    send(producer, 3)
    producer.close()
    producer.close()
    assert not producer.send_event({"service_name": "chat", "model_name": "m", "latency_ms": 1})
    assert [(error.lost, error.event_ids) for error in told] == [(3, ("e0", "e1", "e2"))]
    daemon.gate.set()
    stats = producer.stats()
    assert (stats.accepted, stats.failed, stats.dropped, stats.buffered) == (3, 3, 1, 0)


def test_what_answers_mean() -> None:
    """Every kind of answer, among them those that are none."""
    assert meaning(202, None, b'{"rejected": 5}', 2) == Taken(2)
    assert meaning(400, None, b'{"rejected": 1, "errors": [{"index": 9}]}', 1) == Taken(1)
    assert meaning(400, None, b"[" * 100_000, 1) == Refused("the daemon could not read the request (400)")
    assert meaning(415, None, b"", 1) == Refused("the daemon does not understand what was sent (415)")
    assert meaning(429, "999999", b"", 1) == Later("the daemon is busy (429)", 60.0)
    assert meaning(503, "-1", b"", 1) == Later("the daemon is busy (503)", None)


def test_pauses_grow_and_end() -> None:
    """They double from a tenth of a second to half a minute, spread so that producers do not come back together."""
    assert all(0.05 <= pause_s(1, None) <= 0.1 for _ in range(100))
    assert all(15 <= pause_s(50, None) <= 30 for _ in range(100))
    assert all(7 <= pause_s(1, 7.0) <= 7.1 for _ in range(100))


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8080", "ftp://host", "http://", "http://user:pw@host", "http://host/?key=1", "http://host/#x"],
)
def test_what_is_no_url_of_a_daemon_is_refused(url: str) -> None:
    """At once, without quoting what may hold a password."""
    with pytest.raises(ValueError, match="url: give") as error:
        TelemetryProducer(url=url)
    assert "pw" not in str(error.value)


def test_a_path_before_ours_is_kept() -> None:
    """The URL may be that of a proxy, and may or may not end with the path."""
    for url in ("http://h:1/sentinel", "http://h:1/sentinel/", "http://h:1/sentinel/api/v1/events"):
        assert Poster(url, None, Security()).url == "http://h:1/sentinel/api/v1/events"


def test_an_api_key_does_not_travel_unencrypted() -> None:
    """Beyond this host only where that is wanted; a key that would break the request is refused, too."""
    with pytest.raises(ValueError, match="API key would be sent unencrypted"):
        TelemetryProducer(url="http://sentinel:8080", api_key="k")
    with pytest.raises(ValueError, match="api_key"):
        TelemetryProducer(url="https://sentinel:8080", api_key="k\r\nX: y")
    for url, security in (("https://sentinel", None), ("http://127.0.0.1:1", None), ("http://sentinel", Security(insecure=True))):
        TelemetryProducer(url=url, api_key="k", security=security).close()


def test_certificates_are_verified(tmp_path: Path) -> None:
    """A daemon with a certificate of its own is trusted by `ca_file`, and by nothing else; a missing file is an error at once."""
    files = ("-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")
    subject = ("-subj", "/CN=sentinel", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subprocess.run(("openssl", "req", "-x509", *curve, *files, *subject), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    told: list[DeliveryError] = []
    with daemon_double(tls=context) as daemon:
        with TelemetryProducer(url=daemon.url, close_timeout_s=0.2, on_error=told.append) as producer:
            send(producer, 1)
        assert any("certificate not trusted" in error.reason for error in told)
        assert not daemon.events
        with TelemetryProducer(url=daemon.url, security=Security(ca_file=str(tmp_path / "cert.pem"))) as producer:
            send(producer, 1)
        assert len(daemon.events) == 1
    with pytest.raises(OSError, match="No such file"):
        TelemetryProducer(url="https://127.0.0.1:1", security=Security(ca_file=str(tmp_path / "absent.pem")))
