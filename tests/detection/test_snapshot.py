"""Checkpoints: bit-equal state, or a refusal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import Baseline, Cusum, Detection
from sentinel.core.batch import PartitionId, SeriesKey
from sentinel.core.errors import SnapshotError
from sentinel.core.metrics import LATENCY, METRICS
from sentinel.detection import snapshot
from sentinel.detection.baselines import Baselines

LOG = PartitionId("cluster", "llm.telemetry", 3)
RULES = Detection(baseline=Baseline(window_size=40))
NAMES = [SeriesKey("default", f"s{i}", "m") for i in range(3)]


def events(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """N events of three series in all metrics, some absent."""
    rng = np.random.default_rng(seed)
    metrics = rng.lognormal(3, 1, (n, len(METRICS)))
    metrics[rng.random(metrics.shape) < 0.1] = np.nan
    return rng.integers(0, 3, n).astype(np.int32), metrics


def learned(n: int = 200) -> Baselines:
    """Baselines that have seen n events."""
    baselines = Baselines(RULES)
    baselines.score_and_update(NAMES, *events(1, n))
    return baselines


def blob() -> bytes:
    """A checkpoint of them."""
    return snapshot.encode(learned(), LOG, 200, 12345, ["a", "b"])


def test_a_restored_state_goes_on_with_the_same_bits() -> None:
    """State through a blob and state without: the next events get the same scores, bit for bit, at any point of the ring."""
    for n in (0, 1, 39, 119, 120, 121, 200):
        kept = learned(n) if n else Baselines(RULES)
        restored, header = snapshot.decode(snapshot.encode(kept, LOG, n, 7, ["x"]), RULES, LOG)
        assert (header.next_offset, header.watermark_ns, header.recent_ids) == (n, 7, ["x"])
        series, metrics = events(2, 300)
        before, after = kept.score_and_update(NAMES, series, metrics), restored.score_and_update(NAMES, series, metrics)
        assert [f.score.tobytes() for f in before] == [f.score.tobytes() for f in after]
        assert [f.event.tolist() for f in before] == [f.event.tolist() for f in after]


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(at: int, bit: int) -> None:
    """One flipped bit anywhere: refused, never loaded."""
    damaged = bytearray(blob())
    damaged[at % len(damaged)] ^= 1 << bit
    with pytest.raises(SnapshotError):
        snapshot.decode(bytes(damaged), RULES, LOG)


@settings(max_examples=200, deadline=None)
@given(length=st.integers(0, 10**9))
def test_any_cut_is_refused(length: int) -> None:
    """A blob that ends early: refused."""
    whole = blob()
    with pytest.raises(SnapshotError):
        snapshot.decode(whole[: length % len(whole)], RULES, LOG)


@pytest.mark.parametrize(
    ("rules", "log", "says"),
    [
        (RULES, PartitionId("cluster", "llm.telemetry", 4), "belongs to"),
        (Detection(baseline=Baseline(window_size=41)), LOG, "window_size"),
        (Detection(baseline=Baseline(window_size=40, max_series=1)), LOG, "max_series"),
    ],
)
def test_a_foreign_state_is_refused(rules: Detection, log: PartitionId, says: str) -> None:
    """Another partition, another window size, more series than allowed: refused with the reason."""
    with pytest.raises(SnapshotError, match=says):
        snapshot.decode(blob(), rules, log)


def test_a_future_format_is_refused() -> None:
    """A format number this version does not know is named, not guessed at."""
    changed = bytearray(blob())
    changed[8] = 99
    with pytest.raises(SnapshotError, match="format 99"):
        snapshot.decode(bytes(changed), RULES, LOG)


def test_metrics_may_change_between_restarts() -> None:
    """Windows of metrics that are gone are left out, new ones start empty, the others are kept."""
    fewer = Detection(
        enabled_detectors=["cusum"], cusum=Cusum(metrics=["latency_ms"]), baseline=Baseline(window_size=40, metrics=["error"])
    )
    restored, _ = snapshot.decode(blob(), fewer, LOG)
    assert restored.windows[LATENCY].count(0) == 40
    assert len(restored.windows) == 2
