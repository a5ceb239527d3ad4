"""The state database, in memory: real tables and real transactions, on the loop instead of on threads."""

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from simulated_stores import Crash
from simulated_weather import Weather
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import StaticPool

from sentinel.core.errors import RetryableError
from sentinel.state.migrate import migrate

T = TypeVar("T")


@cache
def _template() -> tuple[Engine, sqlite3.Connection, bytes]:
    """One database for all runs, and what it is like when it is new."""
    raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, hide_parameters=True)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        migrate(connection, "memory")
    return engine, raw, raw.serialize()


class SimulatedDatabase:
    """What `StateDatabase` is to those who use it. Several processes share it."""

    def __init__(self, weather: Weather, crash: Crash) -> None:
        self._weather = weather
        self._crash = crash
        self._engine, raw, new = _template()
        raw.deserialize(new)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """One transaction."""
        await self._weather.delay(slow="alerts block")
        if self._weather.strikes("alerts down"):
            raise RetryableError("the state database is locked")
        with self._engine.begin() as connection:
            done = work(connection)
        self._weather.note("state changed")
        await self._crash()
        if self._weather.strikes("alerts lose replies"):
            raise RetryableError("the state database did not answer")
        return done

    async def read(self, work: Callable[[Connection], T]) -> T:
        """One question."""
        await self._weather.delay()
        with self._engine.begin() as connection:
            return work(connection)

    def notifications(self) -> list[str]:
        """Ids of all messages, as often as they are there."""
        with self._engine.begin() as connection:
            return sorted(connection.execute(text("SELECT notification_id FROM outbox")).scalars())

    def alerts(self) -> dict[str, tuple[int, int]]:
        """By id, how many anomalies an alert counts, and its severity."""
        with self._engine.begin() as connection:
            rows = connection.execute(text("SELECT alert_id, count, severity FROM alerts"))
            return {row[0]: (row[1], row[2]) for row in rows}
