"""The Azure trace as events: the file's own tokens and times, with five labelled faults."""

import json
from pathlib import Path

import numpy as np
import pytest

from sentinel.core.errors import StartupError
from sentinel.testing.azure import azure_events
from sentinel.testing.faults import FaultKind

TRACE = Path(__file__).parents[3] / "shared" / "data" / "azure" / "AzureLLMInferenceTrace_conv.csv"
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
MOMENT = "2023-11-16 18:15:46.6805900"


@pytest.fixture
def small_trace(tmp_path: Path) -> Path:
    """A trace of 2,000 requests in the published format, one every half second, with two neighbouring rows swapped."""
    rng = np.random.default_rng(1)
    rows = [
        f"2023-11-16 18:{15 + i // 120:02d}:{i // 2 % 60:02d}.{5 * (i % 2)}000000,{rng.integers(50, 4_000)},{rng.integers(10, 800)}"
        for i in range(2_000)
    ]
    rows[10], rows[11] = rows[11], rows[10]
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\r\n" + "\r\n".join(rows))
    return path


def check_trace(path: Path) -> None:
    """What must hold for any trace."""
    records, faults = azure_events(path, 7)
    assert (records, faults) == azure_events(path, 7)
    assert records != azure_events(path, 8)[0]
    rows = [json.loads(record) for record in records]
    assert {(row["service_name"], row["model_name"]) for row in rows} == {("azure-conversation", "gpt")}
    times = np.array([row["timestamp"][:-1] for row in rows], dtype="datetime64[ns]").view(np.int64)
    assert np.all(np.diff(times) >= 0)
    latency, cost, prompt = (np.array([row[name] for row in rows]) for name in ("latency_ms", "cost_usd", "prompt_tokens"))
    failed = np.array(["error" in row for row in rows])
    during = {fault.kind: (times >= fault.start_ns) & (times < fault.end_ns) for fault in faults}
    healthy = ~np.any(list(during.values()), axis=0)
    assert len(during) == len(faults) == 5
    assert all(mask.sum() > 30 for mask in during.values())
    assert failed[healthy].mean() < 0.03
    assert failed[during[FaultKind.ERROR_BURST]].mean() > 0.2
    for kind, column, factor in (
        (FaultKind.LATENCY_SPIKE, latency, 3.0),
        (FaultKind.LATENCY_DRIFT, latency, 1.2),
        (FaultKind.COST_RUNAWAY, cost, 10.0),
        (FaultKind.TOKEN_SURGE, prompt, 3.0),
    ):
        assert np.median(column[during[kind] & ~failed]) > factor * np.median(column[healthy & ~failed])


def test_a_trace_becomes_events_with_five_measurable_faults(small_trace: Path) -> None:
    """Deterministic, in order of time, one series, each fault clearly visible in its own column and time."""
    check_trace(small_trace)


def test_tokens_and_times_are_those_of_the_file(small_trace: Path) -> None:
    """Outside the token surge the counts are the file's own, in order of time."""
    records, faults = azure_events(small_trace, 1, error_rate=0.0)
    (surge,) = (fault for fault in faults if fault.kind is FaultKind.TOKEN_SURGE)
    lines = sorted(small_trace.read_text().splitlines()[1:])
    assert len(records) == len(lines) == 2_000
    checked = 0
    for record, line in zip(records, lines, strict=True):
        row, (stamp, context, generated) = json.loads(record), line.split(",")
        assert row["timestamp"][:19].replace("T", " ") == stamp[:19]
        moment = int(np.datetime64(row["timestamp"][:-1], "ns").astype(np.int64))
        if "error" not in row and not surge.start_ns <= moment < surge.end_ns:
            assert (row["prompt_tokens"], row["completion_tokens"]) == (int(context), int(generated))
            checked += 1
    assert checked > 1_800


def test_the_published_trace_holds_the_same() -> None:
    """The real file, where it is at hand, gives 19,366 events and the same five visible faults."""
    if not TRACE.exists():
        pytest.skip(f"no Azure trace at {TRACE}; it is published at github.com/Azure/AzurePublicDataset")
    check_trace(TRACE)
    assert len(azure_events(TRACE, 1)[0]) == 19_366


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", HEADER, f"{HEADER}noon,1,2\n", f"{HEADER}{MOMENT},many,2\n", f"{HEADER}{MOMENT},1\n"])
def test_a_file_that_is_no_trace_is_named(tmp_path: Path, text: str) -> None:
    """An empty, foreign or damaged file is one clear error with the file's name."""
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(StartupError, match=r"other\.csv"):
        azure_events(path, 1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing trace is told with its path and where to get it."""
    with pytest.raises(StartupError, match=r"none\.csv.*AzurePublicDataset"):
        azure_events(tmp_path / "none.csv", 1)
