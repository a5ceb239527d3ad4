"""Checkpoints: the state of one partition as one immutable, verified blob.

Layout, little-endian:

    magic      8 bytes  b"SNTLCKPT"
    version    uint16
    length     uint32   of the header
    header     JSON: partition, next offset, watermark, window size, metrics, series names, recent event ids, counters
    payload    for each series and metric in header order:
                   uint32 n, uint32 head, float64 anchor, mean, m2, up, down, then n float64 samples as they lie in the ring
    digest     32 bytes sha256 of everything before it

Only what cannot be rebuilt is kept: the sorted views are made again at load. A blob that is damaged, foreign or of a format this version
does not know raises SnapshotError; nothing is loaded from it.
"""

import hashlib
import struct
from collections.abc import Sequence

import msgspec
import numpy as np

from sentinel.config.schema import Detection
from sentinel.core.batch import PartitionId, SeriesKey
from sentinel.core.errors import SnapshotError
from sentinel.core.metrics import METRIC_INDEX, METRIC_NAMES
from sentinel.detection.baselines import Baselines

MAGIC = b"SNTLCKPT"
VERSION = 1
MAX_HEADER_BYTES = 256 * 1024 * 1024

_PREFIX = struct.Struct("<8sHI")
_WINDOW = struct.Struct("<IIddddd")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says about itself.

    Attributes:
        source: cluster, topic, partition.
        next_offset: the first offset whose event is not in the state.
        watermark_ns: largest event time seen.
        window_size: samples a window may hold.
        metrics: names of the metrics with windows, in payload order.
        sums: names of the metrics with cumulative sums.
        series: tenant, service, model of each row, in payload order.
        recent_ids: event ids remembered against repeats, oldest first.
        samples_learned: how many samples ever entered the windows.
    """

    source: tuple[str, str, int]
    next_offset: int
    watermark_ns: int
    window_size: int
    metrics: list[str]
    sums: list[str]
    series: list[tuple[str, str, str]]
    recent_ids: list[str]
    samples_learned: int


def encode(baselines: Baselines, source: PartitionId, next_offset: int, watermark_ns: int, recent_ids: Sequence[str]) -> bytes:
    """The state as a blob. Costs one copy of the samples."""
    header = Header(
        source=(source.cluster, source.topic, source.partition),
        next_offset=next_offset,
        watermark_ns=watermark_ns,
        window_size=baselines.rules.baseline.window_size,
        metrics=[METRIC_NAMES[metric] for metric in baselines.windows],
        sums=[METRIC_NAMES[metric] for metric in baselines.sums],
        series=[(key.tenant, key.service, key.model) for key in baselines.names],
        recent_ids=list(recent_ids),
        samples_learned=baselines.samples_learned,
    )
    head = msgspec.json.encode(header)
    parts = [_PREFIX.pack(MAGIC, VERSION, len(head)), head]
    for row in range(len(baselines.names)):
        for metric, windows in baselines.windows.items():
            ring, (position, *moments) = windows.export(row)
            sums = baselines.sums.get(metric)
            up, down = (float(sums.up[row]), float(sums.down[row])) if sums else (0.0, 0.0)
            parts += (_WINDOW.pack(len(ring), position, *moments, up, down), ring.astype("<f8").tobytes())
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def decode(blob: bytes, rules: Detection, source: PartitionId) -> tuple[Baselines, Header]:
    """The state a blob holds.

    Windows of metrics that the configuration no longer names are left out, those of new metrics start empty.

    Args:
        blob: what `encode` gave.
        rules: the configuration in force.
        source: the partition that asks.

    Raises:
        SnapshotError: damaged, of another partition, of an unknown format, or of another window size.
    """
    header, at = _verified(blob, source)
    if header.window_size != rules.baseline.window_size:
        raise SnapshotError(
            f"the checkpoint has windows of {header.window_size} samples, the configuration wants "
            f"{rules.baseline.window_size} (detection.baseline.window_size): windows start empty and are learned again"
        )
    if len(header.series) > rules.baseline.max_series + 1:
        raise SnapshotError(
            f"the checkpoint holds {len(header.series)} series, the configuration allows {rules.baseline.max_series} "
            "(detection.baseline.max_series): windows start empty and are learned again"
        )
    baselines = Baselines(rules)
    baselines.samples_learned = header.samples_learned
    end = len(blob) - hashlib.sha256().digest_size
    for name in header.series:
        row = baselines.row(SeriesKey(*name))
        for metric_name in header.metrics:
            at = _load_window(baselines, row, metric_name, blob, at, end)
    if at != end:
        raise SnapshotError("the checkpoint is longer than its header says")
    return baselines, header


def _verified(blob: bytes, source: PartitionId) -> tuple[Header, int]:
    """The header, and where the payload begins."""
    digest_size = hashlib.sha256().digest_size
    if len(blob) < _PREFIX.size + digest_size or not blob.startswith(MAGIC):
        raise SnapshotError("not a checkpoint: the magic bytes are missing")
    _, version, length = _PREFIX.unpack_from(blob)
    if version != VERSION:
        raise SnapshotError(f"checkpoint format {version} is not known to this version, which reads {VERSION}")
    if hashlib.sha256(blob[:-digest_size]).digest() != blob[-digest_size:]:
        raise SnapshotError("the checkpoint is damaged: its checksum does not match")
    if length > min(MAX_HEADER_BYTES, len(blob) - _PREFIX.size - digest_size):
        raise SnapshotError("the checkpoint's header is longer than the checkpoint")
    try:
        header = msgspec.json.decode(blob[_PREFIX.size : _PREFIX.size + length], type=Header)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SnapshotError(f"the checkpoint's header cannot be read: {error}") from error
    if header.source != (source.cluster, source.topic, source.partition):
        raise SnapshotError(f"the checkpoint belongs to {'/'.join(map(str, header.source))}, not to {source}")
    return header, _PREFIX.size + length


def _load_window(baselines: Baselines, row: int, metric_name: str, blob: bytes, at: int, end: int) -> int:
    """Read one window; returns where the next one begins."""
    if at + _WINDOW.size > end:
        raise SnapshotError("the checkpoint ends in the middle of a window")
    n, head, anchor, mean, m2, up, down = _WINDOW.unpack_from(blob, at)
    at += _WINDOW.size
    size = baselines.rules.baseline.window_size
    if n > size or head >= size or at + 8 * n > end:
        raise SnapshotError("the checkpoint holds a window larger than it says")
    metric = METRIC_INDEX.get(metric_name)
    if metric is not None and metric in baselines.windows:
        ring = np.frombuffer(blob, "<f8", n, at).astype(np.float64)
        baselines.windows[metric].load(row, ring, (head, anchor, mean, m2))
        if metric in baselines.sums:
            baselines.sums[metric].up[row], baselines.sums[metric].down[row] = up, down
    end_of_ring: int = at + 8 * n
    return end_of_ring
