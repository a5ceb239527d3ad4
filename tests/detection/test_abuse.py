"""Users who take far more than the busiest usually do."""

from typing import Any

import numpy as np
import pytest
from usage_events import CHANGE_S, HOUR_S, NOON, SOURCE, Traffic, healthy, pseudonym, run, watch_of

from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import SeriesKey

ABUSER = 777
RULES: dict[str, Any] = {"min_requests": 100, "min_tokens": 100_000, "min_cost_usd": 1.0}


def told(traffic: Traffic, *, drift: dict[str, Any] | None = None, **abuse: Any) -> list[Anomaly]:
    """What is told of users."""
    watch = watch_of(abuse=RULES | abuse, drift=drift or {}, leaks={"enabled": False})
    return [a for a in run(watch, traffic, until_s=traffic.ts_s[-1] + 2 * HOUR_S) if a.type == "usage_abuse"]


def stolen(hours: float = 30, per_s: float = 0.3, share: float = 0.9) -> Traffic:
    """A key is stolen: from one time on, one user sends nine times what all others do together."""
    traffic = healthy(1, hours * HOUR_S, per_s)
    extra = healthy(2, hours * HOUR_S - CHANGE_S, per_s * share / (1 - share), start_s=NOON + CHANGE_S)
    extra.user[:] = ABUSER
    return together(traffic, extra)


def together(*parts: Traffic) -> Traffic:
    """Several streams as one."""
    columns = {n: np.concatenate([getattr(part, n) for part in parts]) for n in vars(parts[0]) if n not in {"finish", "names"}}
    whole = Traffic(**columns, finish=[reason for part in parts for reason in part.finish], names=parts[0].names)
    return whole.take(np.argsort(whole.ts_s, kind="stable"))


def test_a_stolen_key_is_told_with_its_user() -> None:
    """Requests, tokens and spend of a user far beyond the usual are told once each, with the pseudonym and the numbers."""
    found = told(stolen(), factor=3.0)
    assert {a.metric for a in found} == {"requests_per_user", "tokens_per_user", "cost_usd_per_user"}
    assert {a.contributors[0].value for a in found} == {pseudonym(ABUSER)}
    for anomaly in found:
        assert anomaly.contributors[0].share > 0.8
        assert anomaly.value > anomaly.upper > 0
        assert pseudonym(ABUSER) in anomaly.explanation
        assert (anomaly.service, anomaly.model, anomaly.partition) == ("chat", "__all__", str(SOURCE))


def test_users_who_have_always_been_large_are_nobodys_alarm() -> None:
    """A service of which one user takes nine tenths all the time is silent."""
    traffic = healthy(1, 40 * HOUR_S, 0.3)
    traffic.user[np.random.default_rng(1).random(len(traffic)) < 0.9] = ABUSER
    assert told(traffic) == []


def test_more_traffic_of_all_is_no_abuse() -> None:
    """Six times the traffic with the usual shares is nobody's doing."""
    assert told(together(healthy(1, 30 * HOUR_S, 0.2), healthy(2, 3 * HOUR_S, 1.0, start_s=NOON + CHANGE_S))) == []


def test_someone_awake_when_others_sleep_is_no_abuse() -> None:
    """A user who goes on as always while all others are away is not told."""
    traffic = healthy(1, 40 * HOUR_S, 0.3)
    night = (traffic.ts_s >= NOON + CHANGE_S) & (traffic.ts_s < NOON + CHANGE_S + 6 * HOUR_S)
    assert told(traffic.take(~night | (traffic.user == 0)), min_requests=10) == []


def test_anonymous_events_count_in_the_total_only() -> None:
    """Nine tenths of the requests without a user are no user's."""
    traffic = stolen()
    traffic.user[traffic.user == ABUSER] = -1
    assert told(traffic) == []


def test_a_user_of_another_service_is_another_user() -> None:
    """Who takes much of a quiet service is told there, not where everybody takes much."""
    traffic = stolen()
    traffic.names = [SeriesKey("default", "busy", "m"), SeriesKey("default", "quiet", "m")]
    rest = np.random.default_rng(1).random(len(traffic)) < 0.5
    traffic.series = np.where(traffic.user == ABUSER, 1, rest).astype(np.int64)
    assert {a.service for a in told(traffic)} == {"quiet"}


@pytest.mark.parametrize("key", ["min_requests", "min_tokens", "min_cost_usd"])
def test_minimums_are_configured(key: str) -> None:
    """Each minimum silences its own measure."""
    metric = {"min_requests": "requests_per_user", "min_tokens": "tokens_per_user", "min_cost_usd": "cost_usd_per_user"}[key]
    found = {a.metric for a in told(stolen(), **{key: 10_000_000})}
    assert metric not in found
    assert len(found) == 2


def test_factor_is_configured() -> None:
    """`abuse.factor` decides how far beyond the usual is too far."""
    assert not told(stolen(), factor=500.0)


def test_the_number_of_users_is_bounded() -> None:
    """With a thousand times more users than `abuse.max_users` the heaviest is still found, and the state stays small."""
    traffic = stolen(per_s=0.5)
    traffic.user = np.where(traffic.user == ABUSER, ABUSER, 1_000 + np.arange(len(traffic)))
    watch = watch_of(abuse=RULES | {"max_users": 64}, leaks={"enabled": False})
    found = [a for a in run(watch, traffic) if a.type == "usage_abuse"]
    assert {a.contributors[0].value for a in found} == {pseudonym(ABUSER)}
    assert sum(t.nbytes for name, t in watch.tables().items() if "users" in name) < 30_000


def test_use_that_stays_is_accepted() -> None:
    """After `drift.accept_hours` of it the user's use is usual: a pause and a return are not told; before that they are."""
    for accept_hours, tells_again in ((3, False), (100, True)):
        traffic = stolen(hours=42)
        pause = (traffic.ts_s > NOON + 33 * HOUR_S) & (traffic.ts_s < NOON + 38 * HOUR_S)
        found = told(traffic.take(~(pause & (traffic.user == ABUSER))), drift={"accept_hours": accept_hours})
        assert any(a.timestamp > "2026-01-02T10:30" for a in found) is tells_again
