"""The InfluxDB store keeps every promise of the shipped conformance suite, over the double and, where there is one, a real server."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from sentinel.config.schema import InfluxDB
from sentinel.config.secret import Secret
from sentinel.observability.metrics import Metrics
from sentinel.storage.influx import InfluxStore
from sentinel.testing import store_suite
from sentinel.testing.fakes import ManualClock
from sentinel.testing.influx_double import InfluxDouble
from sentinel.testing.store_events import START_NS
from sentinel.testing.store_under_test import Check

REAL = os.environ.get("INFLUXDB3_URL")


@pytest.fixture(params=["double, v3", "double, v2", "real server"])
def place(request: pytest.FixtureRequest) -> Iterator[InfluxDB]:
    """An empty place for a store."""
    if request.param == "real server":
        if REAL is None:
            pytest.skip("INFLUXDB3_URL names no real InfluxDB 3 server")
        token, name = os.environ.get("INFLUXDB3_TOKEN"), uuid4().hex
        yield InfluxDB(url=REAL, token=Secret(token) if token else None, telemetry_bucket=f"t{name}", anomaly_bucket=f"a{name}")
        return
    with InfluxDouble(token="secret") as double:
        yield InfluxDB(url=double.url, token=Secret("secret"), api="v2" if "v2" in request.param else "v3", batch_size=1_000)


@pytest.mark.parametrize("check", store_suite.CHECKS, ids=lambda check: check.__name__)
async def test_influx_store(check: Check, place: InfluxDB) -> None:
    """One promise of a store."""
    clock = ManualClock(START_NS)
    await check(lambda: InfluxStore(place, clock, Metrics()))
