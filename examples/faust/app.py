"""A Faust application: what each service costs in each minute, counted from the events that LLM-Sentinel reads too.

    pip install 'llm-sentinel[faust]'
    BROKER=kafka://127.0.0.1:9092 faust -A app worker --without-web -l info

Each second it tells the services whose minute has changed, with their requests and cost; the worker puts that into its log. Put your
own code into `tell`.
"""

import os
from datetime import UTC, datetime

import faust

from sentinel.integrations.faust import TelemetryEvent, events_topic

APP_ID = os.environ.get("APP_ID", "llm-costs")
TOPIC = os.environ.get("TOPIC", "llm.telemetry")
PARTITIONS = int(os.environ.get("PARTITIONS", "4"))
MINUTE_S = 60.0


class Spent(faust.Record, serializer="json", include_metadata=False):
    """What one request cost, and when Kafka took its event, in seconds since the epoch. No text, no person."""

    taken_s: float
    cost_usd: float


app = faust.App(
    APP_ID,
    broker=os.environ.get("BROKER", "kafka://127.0.0.1:9092"),
    topic_partitions=PARTITIONS,
)
# A table lies by partition. Keyed by service, all that one service spends is in the same.
spending = app.topic(f"{APP_ID}-spending", key_type=str, value_type=Spent, partitions=PARTITIONS, internal=True)
requests = app.Table("requests", default=int).tumbling(MINUTE_S, expires=3600.0).relative_to_field(Spent.taken_s)
costs_usd = app.Table("costs-usd", default=float).tumbling(MINUTE_S, expires=3600.0).relative_to_field(Spent.taken_s)
changed: dict[tuple[float, str], tuple[int, float]] = {}
unusable: list[int] = []  # offsets of records that are no events: OTLP, and mistakes


@app.agent(events_topic(app, TOPIC))
async def by_service(events: faust.Stream[TelemetryEvent | None]) -> None:
    """Hand on what each event cost, under its service's name."""
    async for event in events.events():
        if event.value is None:
            unusable.append(event.message.offset)
        else:
            spent = Spent(taken_s=event.message.timestamp, cost_usd=event.value.cost_usd or 0.0)
            await spending.send(key=event.value.service_name, value=spent)


@app.agent(spending)
async def count(stream: faust.Stream[Spent]) -> None:
    """Add each to its service's minute."""
    async for service, spent in stream.items():
        requests[service] += 1
        costs_usd[service] += spent.cost_usd
        changed[spent.taken_s - spent.taken_s % MINUTE_S, service] = (requests[service].value(), costs_usd[service].value())


@app.timer(interval=1.0)
async def tell() -> None:
    """Print what has changed. A line that comes later for the same minute replaces the one before."""
    for (minute_s, service), (total, usd) in sorted(changed.items()):
        print(f"{datetime.fromtimestamp(minute_s, UTC):%H:%M} {service} requests={total} cost_usd={usd:.6f}", flush=True)
    changed.clear()
    if unusable:
        print(f"{len(unusable)} records are no events, the last at offset {unusable[-1]}", flush=True)
        unusable.clear()


if __name__ == "__main__":
    app.main()
