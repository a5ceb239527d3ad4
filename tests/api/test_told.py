"""What people tell: verdicts on anomalies, markers, and that the new normal is normal. Each is audited before it acts."""

from typing import Any

import pytest
from api_client import Client, Obedient, Started, event
from key_ring import KeyRing

from sentinel.config.schema import Api
from sentinel.core.command import AcceptRegime, Marker, Which
from sentinel.core.errors import RetryableError
from sentinel.state import audit
from sentinel.testing.store_events import mark_of, tick_anomaly

FEEDBACK = f"/api/v1/anomalies/{tick_anomaly(1).id}/feedback"
ACCEPT, MARKERS = "/api/v1/baselines/accept", "/api/v1/markers"


@pytest.fixture
def obedient() -> Obedient:
    """Takes the commands."""
    return Obedient()


@pytest.fixture
async def told(start: Started, obedient: Obedient) -> Client:
    """A client of a daemon that takes commands, and has one anomaly."""
    client = await start(prepare=obedient)
    await client.send([event(i) for i in range(3)])
    await client.daemon.store.write([mark_of(3, tick_anomaly(1))])
    return client


async def audited(client: Client) -> list[tuple[str, str, str]]:
    """Actor, action and target of each change, the newest first."""
    entries = await client.daemon._state.read(lambda connection: audit.latest(connection, 9))
    return [(entry.actor, entry.action, entry.target) for entry in entries]


# ---------------------------------------------------------------------------------------------------------------- feedback


async def test_a_verdict_is_kept_and_shown(told: Client) -> None:
    """With what the anomaly was; before anybody gave one there is none."""
    assert (await told.get(FEEDBACK)).status == 404
    answer = await told.post({"verdict": "false_positive", "note": "a load test"}, FEEDBACK)
    assert answer.status == 200
    assert (answer.json["verdict"], answer.json["note"], answer.json["detector"], answer.json["type"]) == (
        "false_positive",
        "a load test",
        "rate",
        "error_rate_increase",
    )
    assert (await told.get(FEEDBACK)).json == answer.json
    assert await audited(told) == [("anonymous", "feedback.given", tick_anomaly(1).id)]


async def test_verdicts_on_events_count_too(told: Client) -> None:
    """Precision is by detector and type, whatever found it."""
    await told.send([event(9, latency_ms=999_999_999)])
    (found,) = (await told.get("/api/v1/anomalies?kind=event")).json["anomalies"]
    await told.post({"verdict": "true_positive"}, f"/api/v1/anomalies/{found['id']}/feedback")
    await told.post({"verdict": "false_positive"}, FEEDBACK)
    answer = (await told.get("/api/v1/feedback/precision")).json
    assert answer["count"] == 2
    counted = [
        (one["detector"], one["type"], one["true_positives"], one["false_positives"], one["precision"]) for one in answer["precision"]
    ]
    assert counted == [("rate", "error_rate_increase", 0, 1, 0.0), ("threshold", "implausible_value", 1, 0, 1.0)]
    assert all(0 <= one["lower"] <= one["precision"] <= one["upper"] <= 1 for one in answer["precision"])


BAD_VERDICTS: list[bytes] = [
    b"",
    b"{}",
    b"[]",
    b'{"verdict": "maybe"}',
    b'{"verdict": "true_positive", "not": "a key"}',
    b'{"verdict": "true_positive", "note": 1}',
    b'{"verdict": "true_positive", "note": "line\\u0000"}',
    b'{"verdict": "true_positive", "note": "\\ud800"}',
    b'{"verdict": "true_positive", "note": "' + b"x" * 1_001 + b'"}',
    b"[" * 5_000,
    b"\xff",
]


@pytest.mark.parametrize("body", BAD_VERDICTS, ids=lambda body: repr(body[:40]))
async def test_a_bad_verdict_is_refused(told: Client, body: bytes) -> None:
    """400 that says so; nothing is kept or audited."""
    answer = await told.post(body, FEEDBACK)
    assert (answer.status, answer.json["detail"][:5]) == (400, "body:")
    assert await audited(told) == []


async def test_a_verdict_on_nothing_is_not_kept(told: Client) -> None:
    """404 with what may be the reason."""
    answer = await told.post({"verdict": "true_positive"}, "/api/v1/anomalies/none/feedback")
    assert (answer.status, "retention" in answer.json["detail"]) == (404, True)
    assert (await told.get("/api/v1/feedback/precision")).json == {"precision": [], "count": 0}


# ---------------------------------------------------------------------------------------------------------------- commands


async def test_a_marker_is_kept_audited_and_obeyed(told: Client, obedient: Obedient) -> None:
    """The detectors get what people gave, with an id that links both."""
    body = {"kind": "deploy", "text": "v2.1", "service": "chat", "timestamp": "2026-01-15T10:30:00.5Z"}
    answer = await told.post(body, MARKERS)
    assert answer.status == 201
    (command,) = obedient.taken
    assert command == Marker(kind="deploy", ts_ns=1_768_473_000_500_000_000, id=answer.json["id"], which=Which(service="chat"), text="v2.1")
    shown = (await told.get(MARKERS)).json
    assert shown == {"markers": [answer.json], "count": 1}
    assert (answer.json["timestamp"], answer.json["service"], answer.json["model"]) == ("2026-01-15T10:30:00.500Z", "chat", None)
    assert await audited(told) == [("anonymous", "marker.made", answer.json["id"])]


async def test_the_same_marker_again_is_the_same_marker(told: Client, obedient: Obedient) -> None:
    """Whoever got no answer may send it again; another text or time is another marker."""
    body = {"kind": "price", "text": "a", "timestamp": "2026-01-15T10:30:00Z"}
    ids = [(await told.post(body | more, MARKERS)).json["id"] for more in ({}, {}, {"text": "b"}, {"timestamp": "2026-01-15T10:30:01Z"})]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert len(obedient.taken) == 4
    assert (await told.get(f"{MARKERS}?limit=2")).json["count"] == 2
    assert len(await audited(told)) == 3


async def test_a_marker_without_a_time_is_of_now(told: Client, obedient: Obedient) -> None:
    """And without names it is about everything of the tenant."""
    assert (await told.post({"kind": "prompt_version"}, MARKERS)).status == 201
    (command,) = obedient.taken
    assert isinstance(command, Marker)
    assert abs(command.ts_ns - told.daemon.clock.now_ns()) < 60 * 10**9
    assert command.which == Which()


async def test_accepting_a_normal_tells_who_knows_the_series(told: Client, obedient: Obedient) -> None:
    """The detectors get the names; the answer says which partitions know them, so that a typing error is seen."""
    partitions = [str(source) for source in told.daemon.pipeline.shards]
    answer = await told.post({"service": "chat"}, ACCEPT)
    assert (answer.status, answer.json) == (202, {"service": "chat", "model": None, "tenant": "default", "partitions": partitions})
    assert (await told.post({"service": "chat", "model": "gtp"}, ACCEPT)).json["partitions"] == []
    assert obedient.taken == [AcceptRegime(which=Which(service="chat")), AcceptRegime(which=Which(service="chat", model="gtp"))]
    assert (await audited(told))[-1] == ("anonymous", "baseline.accepted", "default/chat/*")


BAD_COMMANDS: list[tuple[str, Any]] = [
    (ACCEPT, {}),
    (ACCEPT, {"service": ""}),
    (ACCEPT, {"service": "a", "modell": "b"}),
    (ACCEPT, {"service": "a\u0007"}),
    (ACCEPT, {"service": "x" * 129}),
    (ACCEPT, []),
    (MARKERS, {}),
    (MARKERS, {"kind": "party"}),
    (MARKERS, {"kind": "deploy", "text": "x" * 201}),
    (MARKERS, {"kind": "deploy", "timestamp": "yesterday"}),
    (MARKERS, {"kind": "deploy", "timestamp": "2300-01-01T00:00:00Z"}),
    (MARKERS, {"kind": "deploy", "tenant": ""}),
]


@pytest.mark.parametrize(("path", "body"), BAD_COMMANDS)
async def test_a_bad_command_is_refused(told: Client, obedient: Obedient, path: str, body: Any) -> None:
    """400; nothing is told to the detectors, kept or audited."""
    answer = await told.post(body, path)
    assert answer.status == 400, answer.body
    assert (obedient.taken, await audited(told)) == ([], [])


async def test_a_command_that_is_not_taken_may_be_sent_again(told: Client, obedient: Obedient) -> None:
    """503 with a wait; it is audited already, as something that somebody wanted, and the repeat is the same marker."""
    obedient.failures = [RetryableError("stopping", 3)]
    body = {"kind": "deploy", "timestamp": "2026-01-15T10:30:00Z"}
    answer = await told.post(body, MARKERS)
    assert (answer.status, answer.headers["Retry-After"], obedient.taken) == (503, "3", [])
    again = await told.post(body, MARKERS)
    assert (again.status, len(obedient.taken), len(await audited(told))) == (201, 1, 1)


async def test_a_daemon_without_a_place_for_them_says_so(start: Started) -> None:
    """503 with what is missing, not a server error."""

    def bare(daemon: Any) -> None:
        daemon.context.commands = daemon.context.feedback = daemon.context.markers = None

    client = await start(prepare=bare)
    for path, body in ((MARKERS, {"kind": "deploy"}), (ACCEPT, {"service": "a"}), (FEEDBACK, {"verdict": "true_positive"})):
        answer = await client.post(body, path)
        assert (answer.status, "this daemon has no" in answer.json["detail"]) == (503, True)


async def test_who_told_it_stands_in_the_audit_log(start: Started, ring: KeyRing, obedient: Obedient) -> None:
    """By the id of the key; a viewer may look and not tell."""

    def prepare(daemon: Any) -> None:
        ring.under(daemon)
        obedient(daemon)

    client = await start(api=Api(require_keys=True), prepare=prepare)
    await client.daemon.store.write([mark_of(0, tick_anomaly(1))])
    for path, body in ((MARKERS, {"kind": "deploy"}), (ACCEPT, {"service": "a"}), (FEEDBACK, {"verdict": "true_positive"})):
        assert (await client.post(body, path, headers=ring.given("viewer"))).status == 403
        assert (await client.post(body, path, headers=ring.given("operator"))).status < 300
    for path in (MARKERS, FEEDBACK, "/api/v1/feedback/precision"):
        assert (await client.get(path, headers=ring.given("viewer"))).status == 200
    kid = ring.texts["operator"].removeprefix("sntl_").partition(".")[0]
    assert {actor for actor, _, _ in await audited(client)} == {kid}
    assert len(await audited(client)) == 3
