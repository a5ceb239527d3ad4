"""A real hour of LLM traffic as events: the Azure LLM inference trace, with five known faults put into it.

The trace (https://github.com/Azure/AzurePublicDataset, CC-BY) holds when each request came and how many tokens it read and wrote. Latency
and cost are modelled from the tokens; everything else is as in the simulator.
"""

import csv
from pathlib import Path
from typing import Final

import numpy as np

from sentinel.core.batch import Int64
from sentinel.core.errors import StartupError
from sentinel.testing.faults import STRENGTHS, ActiveFaults, Fault, FaultKind
from sentinel.testing.profiles import ModelProfile, ServiceProfile, make_fleet
from sentinel.testing.traffic import observe, render

SERVICE: Final = ServiceProfile(
    "azure-conversation", prompt_tokens=1_020, completion_tokens=129, overhead_ms=30, streaming=True, weight=1.0
)
MODEL: Final = ModelProfile("gpt", "azure", first_token_ms=200, token_ms=22, prompt_usd=2.5, completion_usd=10.0, weight=1.0)
COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

POSITIONS: Final = (
    (FaultKind.LATENCY_SPIKE, 0.25, 0.28),
    (FaultKind.ERROR_BURST, 0.40, 0.43),
    (FaultKind.TOKEN_SURGE, 0.55, 0.58),
    (FaultKind.COST_RUNAWAY, 0.68, 0.70),
    (FaultKind.LATENCY_DRIFT, 0.80, 0.95),
)
"""Each fault with the parts of the trace's events before which it starts and ends."""


def azure_events(path: Path, seed: int, *, error_rate: float = 0.01) -> tuple[list[bytes], list[Fault]]:
    """The whole trace as flat events of one series in order of time, and the faults in it.

    Args:
        path: the CSV file with the columns TIMESTAMP, ContextTokens and GeneratedTokens.
        seed: >= 0; the same file and seed give the same bytes.
        error_rate: share of requests that fail outside the error burst.

    Raises:
        StartupError: the file is missing or is not such a trace.
    """
    ts_ns, context, generated = _read(path)
    n = len(ts_ns)
    faults = [
        Fault(kind, int(ts_ns[int(first * n)]), int(ts_ns[int(last * n)]), STRENGTHS[kind], SERVICE.name, MODEL.name)
        for kind, first, last in POSITIONS
    ]
    fleet = make_fleet([SERVICE], [MODEL])
    series = np.zeros(n, np.int64)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0xA2])))
    active = ActiveFaults(faults, fleet.series, ts_ns, series)
    requests = observe(fleet, ts_ns, series, context.astype(np.float64), generated.astype(np.float64), active, rng, error_rate)
    return [line.encode() for line in render(requests, fleet.heads, rng, f"azure-{seed:x}")], faults


def _read(path: Path) -> tuple[Int64, Int64, Int64]:
    """Times in nanoseconds and both token counts, int64[n] each, sorted by time."""
    try:
        with path.open(newline="", encoding="ascii") as file:
            rows = [[row[name] for name in COLUMNS] for row in csv.DictReader(file)]
        ts_ns = np.array([row[0] for row in rows], dtype="datetime64[ns]").view(np.int64)
        tokens = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 2)
    except OSError as error:
        raise StartupError(
            f"cannot read the trace {path}: {error.strerror}. It is published at github.com/Azure/AzurePublicDataset."
        ) from error
    except (KeyError, ValueError, TypeError) as error:
        raise StartupError(f"{path} is no Azure LLM inference trace: it needs the columns {', '.join(COLUMNS)}. ({error})") from error
    if not rows:
        raise StartupError(f"{path} holds no requests.")
    order = np.argsort(ts_ns, kind="stable")
    return ts_ns[order], tokens[order, 0], tokens[order, 1]
