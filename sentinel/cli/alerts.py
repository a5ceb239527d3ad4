"""`sentinel alerts`: what people were told, from the state database of a configuration. The daemon may run meanwhile."""

import asyncio
import os
from pathlib import Path
from typing import Final

import click
import msgspec

from sentinel.cli.options import config_file, json_output
from sentinel.cli.problems import show
from sentinel.config.loader import load, locate
from sentinel.core.alert import AlertStatus
from sentinel.core.anomaly import Severity
from sentinel.core.errors import StartupError
from sentinel.observability import logs
from sentinel.state.alerts import AlertQuery, AlertRecord, Alerts
from sentinel.state.database import StateDatabase

MOST: Final = 1_000
_COLOURS: Final = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}


@click.group()
def alerts() -> None:
    """Show alerts."""


@alerts.command(name="ls")
@click.option("--status", type=click.Choice([status.value for status in AlertStatus]), help="Only in this state.")
@click.option("--severity", type=click.Choice([severity.value for severity in Severity]), help="Only this severity.")
@click.option("--service", help="Only this service.")
@click.option("--model", help="Only this model.")
@click.option("--type", "kind", help="Only this type, such as latency_spike.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, MOST), help="Most alerts shown.")
@config_file
@json_output
def list_alerts(
    status: str | None,
    severity: str | None,
    service: str | None,
    model: str | None,
    kind: str | None,
    limit: int,
    file: Path | None,
    *,
    as_json: bool,
) -> int:
    """List alerts by the time they began, newest first, those that have ended as well."""
    query = AlertQuery(status=status, severity=severity, service=service, model=model, type=kind, limit=limit)
    place, found = _asked(file, query)
    if as_json:
        click.echo(msgspec.json.encode({"alerts": found, "count": len(found)}))
        return 0
    show(f"{len(found)} alerts in {place}", err=True)
    for record in found:
        show(_line(record))
    return 0


def _asked(file: Path | None, query: AlertQuery) -> tuple[str, list[AlertRecord]]:
    """The answer of the configured state database, and where that is. Raises StartupError when there is none yet."""
    config = load(locate(file, os.environ), os.environ).config
    logs.configure("warning", as_json=False)
    default = Path(config.state_dir) / "state.db"
    database = StateDatabase(config.state, default)
    if not database.shared and not Path(database.place).exists():
        raise StartupError(f"there is no state database {database.place} yet: the daemon makes it, or --config names another state_dir")

    async def once() -> list[AlertRecord]:
        try:
            await database.open()
            return await Alerts(database).find(query)
        finally:
            await database.close()

    return database.place, asyncio.run(once())


def _line(record: AlertRecord) -> str:
    """One line for people: when, where it stands, how often, and what."""
    state = f"ended {record.ended_at}" if record.ended_at else record.status
    title = _plain(record.title)
    head, _, rest = title.partition(":")
    coloured = click.style(head, fg=_COLOURS[Severity(record.severity)], bold=True)
    return f"{record.started_at}  {record.alert_id}  {state}  {record.count:,}x  {coloured}:{rest}"


def _plain(text: str) -> str:
    """What came from events cannot steer the terminal."""
    return text if text.isprintable() else "".join(character if character.isprintable() else "?" for character in text)
