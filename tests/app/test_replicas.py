"""Daemons of one group, with one PostgreSQL: what is normal can be asked of any of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon_run import config, running
from kafka_bench import section, until
from state_databases import section_of
from test_split_series import of, sent

from sentinel.app import replicas
from sentinel.app.daemon import Daemon
from sentinel.app.replicas import reachable_at
from sentinel.config.schema import Api, Config, Ingestion, Kafka, Privacy, StateDatabase
from sentinel.config.secret import Secret
from sentinel.state import database as state_database
from sentinel.state.replicas import Replica, Replicas
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]


def member(path: Path, kafka: Kafka, state: StateDatabase, **more: Any) -> Config:
    """A replica with its state in `path`."""
    return config(path, Ingestion(kafka=kafka), privacy=Privacy(pseudonym_key=Secret("0123456789abcdef")), state=state, **more)


async def get(daemon: Daemon, path: str) -> Any:
    """An answer of a daemon."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{daemon.server.port}{path}") as answer:
        assert answer.status == 200
        return await answer.json()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas announce themselves all the time."""
    monkeypatch.setattr(replicas, "EVERY_S", 0.05)


async def test_any_replica_tells_of_all(tmp_path: Path, kafka: Broker, topic: Topic, database: str) -> None:
    """Baselines and ledger hold the partitions of both; `scope=replica` those of the one asked; who left is not missed, who died is."""
    group, state = section(kafka, await topic(partitions=2)), section_of(database)
    async with running(member(tmp_path / "one", group, state)) as one:
        async with running(member(tmp_path / "two", group, state)) as two:
            await until(lambda: len(one.pipeline.shards) == len(two.pipeline.shards) == 1)
            await sent(kafka, group.topic, {0: of("chat", 50), 1: of("search", 50)})
            await until(lambda: one.pipeline.ledger.total().stored == two.pipeline.ledger.total().stored == 50)
            while len((await get(one, "/api/v1/ledger"))["partitions"]) < 2:  # noqa: ASYNC110  until they have found each other
                await asyncio.sleep(0.05)
            for daemon in (one, two):
                found = await get(daemon, "/api/v1/baselines?metric=latency_ms&kind=event")
                assert {(row["service"], row["partition"][-1]) for row in found["baselines"]} == {("chat", "0"), ("search", "1")}
                assert (found["count"], found.get("missing")) == (2, None)
                assert (await get(daemon, "/api/v1/baselines?metric=latency_ms&kind=event&limit=1"))["count"] == 1
                own = await get(daemon, "/api/v1/baselines?metric=latency_ms&kind=event&scope=replica")
                assert own["count"] == 1
                assert sum(account["stored"] for account in (await get(daemon, "/api/v1/ledger"))["partitions"]) == 100
                assert len((await get(daemon, "/api/v1/ledger?scope=replica"))["partitions"]) == 1
            status = await get(one, "/api/v1/status?scope=all")
            assert (status["events_stored"], [other["events_stored"] for other in status["others"]]) == (50, [50])
            assert "others" not in await get(one, "/api/v1/status")
        await until(lambda: one.context.peers is not None and not one.context.peers._others())
        assert "missing" not in await get(one, "/api/v1/ledger")
        ghost = Replica("ghost", "a ghost", group.group_id, "elsewhere", None, ["t/9"], one.clock.now_ns())
        asked = state_database.StateDatabase(state, tmp_path / "unused.db")
        await asked.open()
        await Replicas(asked).announce(ghost, 0)
        await asked.close()
        await until(lambda: one.context.peers is not None and one.context.peers._others())
        sheet = await get(one, "/api/v1/ledger")
        assert [(missing["replica"], missing["partitions"]) for missing in sheet["missing"]] == [("a ghost", ["t/9"])]


async def test_a_wrong_scope_is_told(tmp_path: Path) -> None:
    """The parameter has two values, also where a daemon is alone."""
    async with running(config(tmp_path)) as daemon, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{daemon.server.port}/api/v1/ledger"
        async with session.get(url, params={"scope": "world"}) as answer:
            assert (answer.status, "all, replica" in (await answer.json())["detail"]) == (400, True)
        assert await get(daemon, "/api/v1/ledger?scope=all") == await get(daemon, "/api/v1/ledger")


def test_where_others_reach_us() -> None:
    """As configured, else at the address we listen on; an address that names no machine is none."""
    assert reachable_at(Api(bind_addr="127.0.0.1:0"), 81) == "http://127.0.0.1:81"
    assert reachable_at(Api(bind_addr="[::1]:0", tls_cert_file="c", tls_key_file="k"), 81) == "https://[::1]:81"
    assert reachable_at(Api(bind_addr="0.0.0.0:80"), 80) is None
    assert reachable_at(Api(bind_addr=":80"), 80) is None
    assert reachable_at(Api(bind_addr="0.0.0.0:80", advertise_url="https://a.example.com/"), 80) == "https://a.example.com"
