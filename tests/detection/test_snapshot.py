"""Checkpoints: bit-equal state, or a refusal."""

import hashlib
import json
import struct
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import Baseline, Cusum, Detection
from sentinel.core.batch import PartitionId, SeriesKey
from sentinel.core.errors import SnapshotError
from sentinel.core.metrics import LATENCY, METRIC_NAMES, METRICS
from sentinel.detection import snapshot
from sentinel.detection.baselines import Baselines
from sentinel.detection.tables import packed

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


@cache
def blob() -> bytes:
    """A checkpoint of them."""
    return snapshot.copied(learned(), LOG, 200, 12345, ["a", "b"]).blob()


def test_a_restored_state_goes_on_with_the_same_bits() -> None:
    """State through a blob and state without: the next events get the same scores, bit for bit, at any point of the ring."""
    for n in (0, 1, 39, 119, 120, 121, 200):
        kept = learned(n) if n else Baselines(RULES)
        restored, header = snapshot.decode(snapshot.copied(kept, LOG, n, 7, ["x"]).blob(), RULES, LOG)
        assert (header.next_offset, header.watermark_ns, header.recent_ids) == (n, 7, ["x"])
        series, metrics = events(2, 300)
        before, after = kept.score_and_update(NAMES, series, metrics), restored.score_and_update(NAMES, series, metrics)
        assert [f.score.tobytes() for f in before] == [f.score.tobytes() for f in after]
        assert [f.event.tolist() for f in before] == [f.event.tolist() for f in after]


@settings(max_examples=300)
@given(at=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(at: int, bit: int) -> None:
    """One flipped bit anywhere: refused, never loaded."""
    damaged = bytearray(blob())
    damaged[at % len(damaged)] ^= 1 << bit
    with pytest.raises(SnapshotError):
        snapshot.decode(bytes(damaged), RULES, LOG)


@settings(max_examples=200)
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


def test_tables_of_other_detectors_come_back() -> None:
    """Whatever arrays are given with the windows, they are there again; a version 1 checkpoint has none."""
    tables = {"ticks/a": np.arange(3), "ticks/records": np.zeros(2, [("x", "f8"), ("y", "i4")]), "ticks/empty": np.empty((0, 4))}
    found = snapshot.read(snapshot.copied(learned(), LOG, 200, 0, [], tables).blob(), LOG).tables
    for name, table in tables.items():
        assert found[name].dtype == table.dtype
        assert found[name].tolist() == table.tolist()
    assert snapshot.read(version_1(learned()), LOG).tables == {}


def version_1(baselines: Baselines) -> bytes:
    """The blob that the first version wrote."""
    header = {
        "source": list(LOG),
        "next_offset": 200,
        "watermark_ns": 7,
        "window_size": baselines.rules.baseline.window_size,
        "metrics": [METRIC_NAMES[metric] for metric in baselines.windows],
        "sums": ["latency_ms"],
        "series": [list(name) for name in baselines.names],
        "recent_ids": ["a"],
        "samples_learned": baselines.samples_learned,
    }
    head = json.dumps(header).encode()
    parts = [struct.pack("<8sHI", b"SNTLCKPT", 1, len(head)), head]
    exported = {metric: windows.export(len(baselines.names)) for metric, windows in baselines.windows.items()}
    for row in range(len(baselines.names)):
        for records, samples in exported.values():
            end = int(records["n"][: row + 1].sum())
            parts += (struct.pack("<IIddddd", *records[row].tolist()), samples[end - int(records["n"][row]) : end].tobytes())
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def test_a_checkpoint_of_version_1_goes_on_with_the_same_bits() -> None:
    """What an older daemon saved is taken over: the next events get the same scores."""
    for n in (1, 60, 119, 200, 333):
        kept = learned(n)
        restored, header = snapshot.decode(version_1(kept), RULES, LOG)
        assert (header.next_offset, restored.names, restored.samples_learned) == (200, kept.names, kept.samples_learned)
        before, after = kept.score_and_update(NAMES, *events(2, 300)), restored.score_and_update(NAMES, *events(2, 300))
        assert before
        assert [f.score.tobytes() for f in before] == [f.score.tobytes() for f in after]


def test_a_damaged_checkpoint_of_version_1_is_refused() -> None:
    """Cut anywhere and signed anew, so that only its layout is wrong: refused with the reason."""
    whole = version_1(learned())
    for length in range(len(whole) - 40, 600, -997):
        cut = whole[:length]
        with pytest.raises(SnapshotError):
            snapshot.decode(cut + hashlib.sha256(cut).digest(), RULES, LOG)
    longer = whole[:-32] + bytes(8)
    with pytest.raises(SnapshotError, match="longer than"):
        snapshot.decode(longer + hashlib.sha256(longer).digest(), RULES, LOG)


def test_a_well_signed_checkpoint_with_another_layout_is_refused() -> None:
    """Cut anywhere behind its header and signed anew: refused, nothing is read beyond its end."""
    whole = blob()[:-32]
    for length in range(len(whole) - 1, 700, -613):
        with pytest.raises(SnapshotError):
            snapshot.decode(whole[:length] + hashlib.sha256(whole[:length]).digest(), RULES, LOG)


def test_a_checkpoint_that_ends_before_its_tables_is_refused() -> None:
    """Windows without the roster they belong to: refused, not taken for a version 1."""
    tables = packed({snapshot.ROSTER + name: table for name, table in learned().roster.tables().items()})
    whole = blob()[:-32]
    assert whole.endswith(tables)
    without = whole.removesuffix(tables)
    with pytest.raises(SnapshotError, match="table of its series"):
        snapshot.decode(without + hashlib.sha256(without).digest(), RULES, LOG)
