"""From tokens to requests to records: what a request of so many tokens took and cost, and how it is written in the flat dialect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sentinel.core.batch import Bool, Float64, Int64
from sentinel.testing.faults import NS, ActiveFaults, FaultKind
from sentinel.testing.profiles import Fleet

MAX_TOKENS: Final = 65_536
MAX_COST_USD: Final = 99.0
USERS: Final = 2_000

FINISHES: Final = ("stop", "length", "tool_calls", "content_filter")
ERRORS: Final = ("timeout", "rate_limit_exceeded", "server_error", "connection_reset")
OUTCOMES: Final = tuple(f',"finish_reason":"{name}"}}' for name in FINISHES) + tuple(f',"error":"{name}"}}' for name in ERRORS)
"""How a record ends: the finish reasons, then the errors."""
FINISH_BOUNDS: Final = np.array([0.92, 0.97, 0.995])

IMPLAUSIBLE_LATENCY_MS: Final = 9_999_999.0
IMPLAUSIBLE_TOKENS: Final = 9_999_999
IMPLAUSIBLE_COST_USD: Final = 12_345.0

TEMPLATE: Final = (
    '{"event_id":"%s-%x","timestamp":"%s.%06dZ",%s,"latency_ms":%.3f,%s"prompt_tokens":%d,"completion_tokens":%d,"cost_usd":%.7f,'
    '"user_id":"user-%04d","session_id":"%08x","trace_id":"%s","span_id":"%s"%s'
)
STREAMING: Final = '"streaming":true,"ttft_ms":%.3f,'


@dataclass(frozen=True, slots=True)
class Requests:
    """n requests as columns.

    Attributes:
        ts_ns: int64[n], rising; series: int64[n], index into the fleet's series.
        latency_ms, ttft_ms, cost_usd: float64[n]; ttft_ms is NaN where nothing was streamed.
        prompt_tokens, completion_tokens: int64[n].
        outcome: int64[n], index into `OUTCOMES`; user: int64[n], below `USERS`.
        silenced: bool[n], requests that a fault keeps from arriving.
        leaking: bool[n], requests whose response a fault fills with personal data.
    """

    ts_ns: Int64
    series: Int64
    latency_ms: Float64
    ttft_ms: Float64
    cost_usd: Float64
    prompt_tokens: Int64
    completion_tokens: Int64
    outcome: Int64
    user: Int64
    silenced: Bool
    leaking: Bool


def observe(
    fleet: Fleet,
    ts_ns: Int64,
    series: Int64,
    prompt: Float64,
    completion: Float64,
    faults: ActiveFaults,
    rng: np.random.Generator,
    error_rate: float,
) -> Requests:
    """What requests of these tokens took and cost, with the faults' effects.

    The number of random draws depends on n alone: requests that no fault hits are the same with and without faults.

    Args:
        fleet: speeds and prices.
        ts_ns: int64[n], when each was made, rising.
        series: int64[n], index into the fleet's series.
        prompt: float64[n], tokens sent.
        completion: float64[n], tokens that would come back.
        faults: what goes wrong meanwhile.
        rng: source of the noise.
        error_rate: share of requests that fail without any fault.
    """
    n = len(ts_ns)
    ends, fails, hit, who, haste = rng.random((5, n))
    first_noise, token_noise = rng.standard_normal((2, n))

    failed = fails < faults.strength(FaultKind.ERROR_BURST, error_rate)
    surge = faults.strength(FaultKind.TOKEN_SURGE, 1.0)
    prompt = np.clip(np.rint(prompt * surge), 1, MAX_TOKENS)
    completion = np.where(failed, 0.0, np.clip(np.rint(completion * surge), 1, MAX_TOKENS))

    slowness = faults.strength(FaultKind.LATENCY_SPIKE, 1.0) * faults.strength(FaultKind.LATENCY_DRIFT, 1.0)
    first_ms = (fleet.first_token_ms[series] + 0.05 * prompt) * np.exp(0.2 * first_noise) * slowness
    token_ms = fleet.token_ms[series] * np.exp(0.12 * token_noise) * slowness
    ttft_ms = np.where(fleet.streaming[series] & ~failed, first_ms, np.nan)
    latency_ms = fleet.overhead_ms[series] + first_ms + token_ms * completion
    latency_ms = np.where(failed, 1 + latency_ms * haste, latency_ms)

    cost_usd = prompt * fleet.prompt_usd[series] + completion * fleet.completion_usd[series]
    cost_usd = np.minimum(cost_usd * faults.strength(FaultKind.COST_RUNAWAY, 1.0), MAX_COST_USD)

    absurd = np.flatnonzero(hit < faults.strength(FaultKind.IMPLAUSIBLE_VALUE, 0.0))
    latency_ms[absurd[0::3]] = IMPLAUSIBLE_LATENCY_MS
    prompt[absurd[1::3]] = IMPLAUSIBLE_TOKENS
    cost_usd[absurd[2::3]] = IMPLAUSIBLE_COST_USD

    finish = np.searchsorted(FINISH_BOUNDS, ends, side="right")
    error = len(FINISHES) + (ends * len(ERRORS)).astype(np.int64)
    return Requests(
        ts_ns=ts_ns,
        series=series,
        latency_ms=latency_ms,
        ttft_ms=ttft_ms,
        cost_usd=cost_usd,
        prompt_tokens=prompt.astype(np.int64),
        completion_tokens=completion.astype(np.int64),
        outcome=np.where(failed, error, finish),
        user=(who * who * USERS).astype(np.int64),  # squared: a few users do most
        silenced=hit < faults.strength(FaultKind.TRAFFIC_DROP, 0.0),
        leaking=hit < faults.strength(FaultKind.PII_LEAK, 0.0),
    )


def render(requests: Requests, heads: Sequence[str], rng: np.random.Generator, id_prefix: str) -> list[str]:
    """The requests as JSON objects of the flat dialect, in ASCII, without line feeds.

    One `%` over columns of ready Python values: about twice as fast as a dict and a JSON encoder for each event.

    Args:
        requests: n requests.
        heads: of the fleet.
        rng: source of the trace and span ids.
        id_prefix: start of every event id; the position in the columns follows, so it must not be used twice.
    """
    n = len(requests.ts_ns)
    seconds, micros = np.divmod(requests.ts_ns // 1_000, 1_000_000)
    moments, moment_of = np.unique(seconds, return_inverse=True)
    stamps = np.datetime_as_string(moments.view("M8[s]")).tolist()
    session = (requests.user * 2_654_435_761 + requests.ts_ns // (1_800 * NS) * 40_503) & 0xFFFFFFFF
    traces = rng.bytes(24 * n).hex()
    streaming = [""] * n
    for i in np.flatnonzero(~np.isnan(requests.ttft_ms)).tolist():
        streaming[i] = STREAMING % requests.ttft_ms[i]
    columns = zip(
        [id_prefix] * n,
        range(n),
        map(stamps.__getitem__, moment_of.tolist()),
        micros.tolist(),
        map(heads.__getitem__, requests.series.tolist()),
        requests.latency_ms.tolist(),
        streaming,
        requests.prompt_tokens.tolist(),
        requests.completion_tokens.tolist(),
        requests.cost_usd.tolist(),
        requests.user.tolist(),
        session.tolist(),
        [traces[i : i + 32] for i in range(0, 48 * n, 48)],
        [traces[i : i + 16] for i in range(32, 48 * n, 48)],
        map(OUTCOMES.__getitem__, requests.outcome.tolist()),
        strict=True,
    )
    return list(map(TEMPLATE.__mod__, columns))
