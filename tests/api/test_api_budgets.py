"""Where budgets stand, through the API."""

from math import nan

import pytest
from api_client import Started, event

from sentinel.api.budgets import in_common
from sentinel.config.schema import Detection, Validation
from sentinel.detection.accounts import Spender
from sentinel.detection.budgets import Spending

RULES = [
    {"name": "all chat", "service": "chat", "limit_usd": 10.0, "period": "day"},
    {"name": "each service", "per": "service", "limit_usd": 40.0, "period": "day"},
]


async def test_what_was_spent_of_every_budget(start: Started) -> None:
    """As soon as a window of minutes has closed: spender, share and limit, the most used first; parameters choose."""
    limits = Validation(max_age_secs=1e9)  # a day long ago, so that none begins meanwhile
    client = await start(detection=Detection.model_validate({"budgets": RULES}), validation=limits)
    assert (await client.get("/api/v1/budgets")).json == {"budgets": [], "count": 0}
    day_ms = 1_768_471_200_000
    sent = [event(i, service_name=("chat", "mail")[i % 2], cost_usd=0.5, timestamp=day_ms + i * 60_000) for i in range(30)]
    assert (await client.send(sent)).status == 202
    found = (await client.get("/api/v1/budgets")).json["budgets"]
    assert [(one["budget"], one["service"], one["limit_usd"]) for one in found] == [
        ("all chat", None, 10.0),
        ("each service", "chat", 40.0),
        ("each service", "mail", 40.0),
    ]
    spent = {(one["budget"], one["service"]): one["spent_usd"] for one in found}
    assert spent["each service", "chat"] == spent["all chat", None]
    assert 5.0 <= spent["all chat", None] <= 7.5  # the last minutes are still open
    assert found[0]["used"] == pytest.approx(found[0]["spent_usd"] / 10.0)
    for query, kept in (("budget=all chat", found[:1]), ("service=mail", found[2:]), ("limit=1", found[:1]), ("tenant=nobody", [])):
        assert (await client.get(f"/api/v1/budgets?{query}")).json["budgets"] == kept, query
    assert (await client.get("/api/v1/budgets?model=gpt")).status == 400


def test_partitions_add_up() -> None:
    """Spend and forecasts of one spender are sums, independent errors add in squares, and what an old period left is not counted."""
    who = Spender("default", "chat")
    parts = [
        Spending("monthly", who, 1_000_000, 2.0, 10.0, 6.0, 3.0, 9.0),
        Spending("monthly", who, 1_000_000, 1.0, 10.0, 4.0, 0.0, 8.0),
        Spending("monthly", who, 0, 50.0, 10.0, nan, nan, nan),
    ]
    (line,) = in_common(parts)
    assert (line.spent_usd, line.used, line.forecast_usd) == (3.0, 0.3, 10.0)
    assert (line.forecast_lower_usd, line.forecast_upper_usd) == (5.0, 15.0)
    (line,) = in_common([*parts, Spending("monthly", who, 1_000_000, 1.0, 10.0, nan, nan, nan)])
    assert (line.spent_usd, line.forecast_usd, line.forecast_lower_usd) == (4.0, None, None)
