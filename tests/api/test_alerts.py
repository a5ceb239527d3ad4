"""Alerts over HTTP: what is listed, what one of them shows, what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from alert_anomalies import LOG, START_NS, Found, anomalies

from sentinel.alerting.intake import AlertIntake
from sentinel.api import alerts, guard
from sentinel.api.context import CONTEXT, Context
from sentinel.config import sections_state
from sentinel.config.schema import Config
from sentinel.config.sections_alerting import Alerting, Outbox
from sentinel.core.alert import AlertWrite
from sentinel.observability.metrics import Metrics
from sentinel.state.alerts import Alerts
from sentinel.state.database import StateDatabase
from sentinel.state.outbox import StateOutbox
from sentinel.testing.fakes import ManualClock


class Client:
    """Calls the alerts of one state database."""

    def __init__(self, session: aiohttp.ClientSession, url: str, database: StateDatabase) -> None:
        self._session = session
        self._url = url
        self._offset = 0
        self.database = database
        self.clock = ManualClock(START_NS)
        self.intake = AlertIntake(database, Alerting(), [("hook", "warning")], Metrics(), self.clock, "one")

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        """Status and body."""
        async with self._session.get(f"{self._url}/api/v1/alerts{path}", params=query) as answer:
            return answer.status, await answer.json()

    async def happen(self, *found: Found) -> None:
        """Anomalies become alerts."""
        seen = anomalies(*found, first_offset=self._offset)
        self._offset += len(found)
        await self.intake.write([AlertWrite(LOG, 1, self._offset, seen)])

    async def services(self, **query: str) -> list[str]:
        """Services of the alerts found, newest first."""
        status, body = await self.get("", **query)
        assert status == 200
        assert body["count"] == len(body["alerts"])
        return [found["service"] for found in body["alerts"]]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of an application with the alerts alone, on an empty state database."""
    database = StateDatabase(sections_state.StateDatabase(), tmp_path / "state.db")
    await database.open()
    config = Config(alerting=Alerting(external_url="https://sentinel.example/"))
    app = web.Application(middlewares=[guard.problems])
    app[CONTEXT] = cast("Context", SimpleNamespace(config=config, alerts=Alerts(database)))
    app.router.add_routes([web.route(operation.method, operation.path, operation.handler) for operation in alerts.OPERATIONS])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{runner.addresses[0][1]}", database)
    await runner.cleanup()
    await database.close()


async def test_without_alerts_the_list_is_empty(client: Client) -> None:
    """An empty list is an answer, not an error."""
    assert await client.get("") == (200, {"alerts": [], "count": 0})


async def test_alerts_are_listed_newest_first_with_what_people_need(client: Client) -> None:
    """Everything of the alert, its strongest anomalies, and links to it."""
    await client.happen(Found(0), Found(5, "critical", score=8.0), Found(1, service="search"))
    assert await client.services() == ["search", "chat"]
    _, body = await client.get("", service="chat")
    (found,) = body["alerts"]
    assert {name: found[name] for name in ("status", "severity", "type", "metric", "model", "tenant", "count", "notified_count")} == {
        "status": "firing",
        "severity": "critical",
        "type": "latency_spike",
        "metric": "latency_ms",
        "model": "gpt-4o",
        "tenant": "default",
        "count": 2,
        "notified_count": 2,
    }
    assert (found["started_at"], found["last_seen_at"], found["ended_at"]) == ("2026-01-15T10:30:00.000Z", "2026-01-15T10:30:05.000Z", None)
    assert [anomaly["score"] for anomaly in found["anomalies"]] == [8.0, 2.0]
    assert found["title"].startswith("Critical: latency_ms of chat / gpt-4o was 3,000")
    assert found["links"]["api"] == f"https://sentinel.example/api/v1/alerts/{found['alert_id']}"


async def test_every_filter_filters(client: Client) -> None:
    """Status, severity, service, model, tenant, type and limit, alone and together."""
    await client.happen(Found(0), Found(1, "critical", service="search"), Found(2, service="mail", metric="cost_usd", tenant="acme"))
    await client.happen(Found(900, service="mail", metric="cost_usd", tenant="acme"))
    assert await client.services(severity="critical") == ["search"]
    assert await client.services(service="chat") == ["chat"]
    assert await client.services(model="gpt-4o", limit="2") == ["mail", "mail"]
    assert await client.services(model="other") == []
    assert await client.services(tenant="acme", status="resolved") == ["mail"]
    assert await client.services(type="cost_anomaly", status="firing") == ["mail"]
    assert await client.services(type="latency_spike") == ["search", "chat"]


async def test_one_alert_shows_its_messages_and_attempts(client: Client) -> None:
    """What waits, what was tried, what it said: newest first."""
    await client.happen(Found(0))
    outbox = StateOutbox(client.database, Outbox(), client.clock, "one")
    (message,) = await outbox.due("hook", client.clock.now_ns(), 10)
    await outbox.deferred(message, client.clock.now_ns() + 60 * 10**9, "it answered 503")
    (listed,) = (await client.get(""))[1]["alerts"]
    status, found = await client.get(f"/{listed['alert_id']}")
    assert status == 200
    assert {name: found[name] for name in listed} == listed
    assert found["notifications"] == [
        {
            "notification_id": message.id,
            "receiver": "hook",
            "severity": "warning",
            "state": "waiting",
            "attempts": 1,
            "created_at": "2026-01-15T10:30:00.000Z",
            "due_at": "2026-01-15T10:31:00.000Z",
            "settled_at": None,
        }
    ]
    client.clock.advance(60)
    (message,) = await outbox.due("hook", client.clock.now_ns(), 10)
    await outbox.sent(message, client.clock.now_ns())
    _, found = await client.get(f"/{listed['alert_id']}")
    assert [(one["attempt"], one["outcome"], one["reason"]) for one in found["delivery_attempts"]] == [
        (2, "sent", ""),
        (1, "deferred", "it answered 503"),
    ]
    assert (found["notifications"][0]["state"], found["notifications"][0]["due_at"]) == ("sent", None)


async def test_an_unknown_alert_is_not_found(client: Client) -> None:
    """404 as problem+json, whatever the id looks like."""
    for unknown in ("/nothing", "/%27%20OR%201=1", "/" + "a" * 2_000):
        status, body = await client.get(unknown)
        assert (status, body["title"]) == (404, "Not Found")


@pytest.mark.parametrize(
    "query", [{"status": "open"}, {"severity": "bad"}, {"type": "x' OR 1=1"}, {"limit": "0"}, {"limit": "5000"}, {"severty": "info"}]
)
async def test_what_cannot_be_understood_is_refused(client: Client, query: dict[str, str]) -> None:
    """A parameter that is unknown or out of range is named, never ignored."""
    status, body = await client.get("", **query)
    assert status == 400
    assert next(iter(query)) in body["detail"]


async def test_hostile_names_are_values_only(client: Client) -> None:
    """What looks like SQL is compared, not run."""
    await client.happen(Found(0, service="x'; DROP TABLE alerts; --"))
    assert await client.services(service="x'; DROP TABLE alerts; --") == ["x'; DROP TABLE alerts; --"]
    assert await client.services(service="%") == []


async def test_while_the_database_is_away_the_answer_says_so(client: Client) -> None:
    """503 with Retry-After, not an empty list."""
    await client.database.close()
    status, body = await client.get("")
    assert status == 503
    assert "state database" in body["detail"]
