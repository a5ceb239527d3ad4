"""What is owed to those who are told of alerts, and what waits for them. Calls block: from an event loop use `asyncio.to_thread`."""

from collections import Counter
from typing import Any
from urllib.parse import quote

from sqlalchemy import create_engine, text

from sentinel.core.ids import notification_id
from sentinel.testing.profiles import make_fleet
from tests.e2e.conftest import Sentinel

MOST_LISTED = 1_000


def alerts(sentinel: Sentinel) -> list[dict[str, Any]]:
    """All alerts there ever were, as the API has them."""
    found: list[dict[str, Any]] = []
    for series in make_fleet().series:
        where = f"service={quote(series.service)}&model={quote(series.model)}&limit={MOST_LISTED}"
        page = sentinel.get(f"/api/v1/alerts?{where}")["alerts"]
        assert len(page) < MOST_LISTED
        found += page
    return found


def owed(told_of: list[dict[str, Any]], receiver: str) -> set[str]:
    """The ids of all notifications of these alerts to a receiver: one for each telling, made of alert, transition, repeat, receiver."""
    return {
        notification_id(alert["alert_id"], "firing", repeat, receiver) for alert in told_of for repeat in range(alert["notified_count"])
    }


class StateRows:
    """The rows of a state database, read beside the daemon.

    Args:
        url: as SQLAlchemy has it.
    """

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)

    @classmethod
    def beside(cls, sentinel: Sentinel) -> "StateRows":
        """Of a daemon that keeps its state in SQLite."""
        return cls(f"sqlite:///file:{sentinel.state / 'state.db'}?mode=ro&uri=true&timeout=10")

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        try:
            with self._engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(sql))]
        finally:
            self._engine.dispose()

    def outbox(self) -> set[str]:
        """Ids of all notifications that were ever put into the outbox."""
        return {row[0] for row in self.ask("SELECT notification_id FROM outbox")}

    def states(self) -> Counter[str]:
        """How many of them stand where."""
        return Counter(dict(self.ask("SELECT state, count(*) FROM outbox GROUP BY state")))

    def waiting(self) -> int:
        """How many still wait."""
        return self.states()["waiting"]
