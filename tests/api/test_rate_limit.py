"""Rate limits: never more than allowed, never less, in bounded memory."""

import ipaddress

import pytest
from api_client import Client, Started
from hypothesis import given
from hypothesis import strategies as st
from key_ring import KeyRing

from sentinel.api.access import FAILURE_BURST
from sentinel.api.rate_limit import TokenBuckets, peer_name
from sentinel.config.schema import Api


@given(
    st.floats(0.01, 1_000),
    st.integers(1, 50),
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_no_more_than_the_burst_and_the_rate(rate_per_s: float, burst: int, pauses_s: list[float]) -> None:
    """In any stretch of time at most burst + rate x time tokens are given; who waits as told gets one."""
    buckets = TokenBuckets(rate_per_s, burst)
    now_s, given_at = 1_000.0, []
    for pause_s in pauses_s:
        now_s += pause_s / rate_per_s
        wait_s = buckets.take("a", now_s)
        if wait_s == 0.0:
            given_at.append(now_s)
        else:
            assert 0 < wait_s <= 1 / rate_per_s + 1e-6
            assert TokenBuckets.take(buckets, "a", now_s + wait_s) == 0.0
            now_s += wait_s
            given_at.append(now_s)
    for first in range(len(given_at)):
        for last in range(first, len(given_at)):
            assert last - first + 1 <= burst + rate_per_s * (given_at[last] - given_at[first]) + 1e-3


def test_names_do_not_share_a_bucket() -> None:
    """What one uses up, another still has; a refused request takes nothing."""
    buckets = TokenBuckets(1.0, 2)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [0.0, 0.0, 1.0, 1.0]
    assert buckets.take("b", 0.0) == 0.0
    assert (buckets.take("a", 1.0), buckets.take("a", 1.0)) == (0.0, 1.0)


def test_no_rate_is_no_limit_and_no_memory() -> None:
    """0 switches it off."""
    buckets = TokenBuckets(0.0, 1)
    assert {buckets.take(str(number), 0.0) for number in range(1_000)} == {0.0}
    assert len(buckets) == 0


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 200), st.floats(0, 2)), max_size=400))
def test_memory_is_bounded(most: int, asked: list[tuple[int, float]]) -> None:
    """However many names there are, no more than so many are remembered, and full buckets go first."""
    buckets, now_s = TokenBuckets(1.0, 3, most), 0.0
    for name, pause_s in asked:
        now_s += pause_s
        buckets.take(str(name), now_s)
        assert len(buckets) <= most


def test_full_buckets_are_forgotten() -> None:
    """A crowd that has gone leaves nothing behind while others ask."""
    buckets = TokenBuckets(1.0, 1)
    for number in range(5_000):
        buckets.take(str(number), 0.0)
    for number in range(5_000):
        buckets.take("one", 1_000.0 + 2 * number)
    assert len(buckets) == 1


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_addresses_of_one_network_share_a_bucket(address: ipaddress.IPv6Address, other: int) -> None:
    """Whoever has an IPv6 address has its whole /64."""
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | other)
    if address.ipv4_mapped is None and neighbour.ipv4_mapped is None:
        assert peer_name(str(address)) == peer_name(str(neighbour))


# --------------------------------------------------------------------------------------------------------------- over the API


async def test_each_key_has_its_own_limit(start: Started, ring: KeyRing) -> None:
    """rate_limit_per_s and rate_limit_burst: 429 with the time to wait; another key is not touched, and time gives it back."""
    client = await start(api=Api(require_keys=True, rate_limit_per_s=0.5, rate_limit_burst=3), prepare=ring.under)
    answers = [await client.get("/api/v1/status", headers=ring.given("viewer")) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert (answers[-1].headers["Retry-After"], answers[-1].json["title"]) == ("2", "Too Many Requests")
    assert (await client.get("/api/v1/status", headers=ring.given("operator"))).status == 200
    ring.clock.advance(2)
    assert (await client.get("/api/v1/status", headers=ring.given("viewer"))).status == 200


async def test_callers_without_a_key_are_limited_by_address(start: Started, ring: KeyRing) -> None:
    """Where no key is required, and for what needs none; probes are never limited, and no header changes the address."""
    client = await start(api=Api(rate_limit_per_s=1.0, rate_limit_burst=3), prepare=ring.under)
    spoofed = [
        {"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": f"192.0.2.{number}", "Forwarded": "for=1.1.1.1"} for number in range(4)
    ]
    paths = ("/api/v1/status", "/", "/nothing", "/metrics")
    assert [(await client.get(path, headers=headers)).status for path, headers in zip(paths, spoofed, strict=True)] == [200, 200, 404, 429]
    for path in ("/health/live", "/health/ready", "/health/startup", "/api/v1/health") * 3:
        assert (await client.get(path)).status == 200
    assert (await client.get("/api/v1/status", headers=ring.given("viewer"))).status == 200


@pytest.mark.parametrize("api", [Api(require_keys=True), Api(require_keys=True, rate_limit_per_s=1_000, rate_limit_burst=2_000)])
async def test_guessing_locks_out_the_guesser_only(start: Started, ring: KeyRing, api: Api) -> None:
    """Bad keys from one address are answered 401, then 429, never 5xx; a good key from the same address works all the time."""
    client = await start(api=api, prepare=ring.under)
    guesses = []
    for number in range(100):
        name = ("wrong kid", "wrong secret", "malformed", "expired", "revoked")[number % 5]
        guesses.append((await client.get("/api/v1/status", headers=ring.given(name))).status)
        assert (await client.get("/api/v1/status", headers=ring.given("viewer"))).status == 200
    assert guesses == [401] * FAILURE_BURST + [429] * (100 - FAILURE_BURST)
    ring.clock.advance(1)
    again = [(await client.get("/api/v1/status", headers=ring.given("wrong kid"))) for _ in range(2)]
    assert [(answer.status, answer.headers.get("Retry-After")) for answer in again] == [(401, None), (429, "1")]


async def test_no_limit_by_default(client: Client) -> None:
    """A daemon on loopback slows nobody down."""
    assert {(await client.get("/api/v1/status")).status for _ in range(200)} == {200}
