"""Checkpoints: the state of one partition as one immutable, verified blob.

Layout, little-endian:

    magic      8 bytes  b"SNTLCKPT"
    version    uint16
    length     uint32   of the header
    header     JSON: partition, next offset, watermark, window size, metrics, series names, recent event ids, counters
    windows    for each metric in header order: a record of each series (`windows.KEPT`), then the samples of all as they lie in the rings
    tables     named arrays (`tables`): the roster of series, and whatever other detectors keep
    digest     32 bytes sha256 of everything before it

Only what cannot be rebuilt is kept: the sorted views are made again at load. A blob that is damaged, foreign or of a format this version
does not know raises SnapshotError; nothing is loaded from it. Version 1, without tables, is read too (`snapshot_v1`).
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.config.schema import Detection
from sentinel.core.batch import Float64, PartitionId, SeriesKey
from sentinel.core.errors import SnapshotError
from sentinel.core.metrics import METRIC_INDEX, METRIC_NAMES
from sentinel.detection import snapshot_v1
from sentinel.detection.baselines import Baselines
from sentinel.detection.tables import packed, unpacked
from sentinel.detection.windows import KEPT
from sentinel.detection.windows_pool import Records

MAGIC: Final = b"SNTLCKPT"
VERSION: Final = 2
MAX_HEADER_BYTES: Final = 256 * 1024 * 1024
ROSTER: Final = "roster/"
"""What the names of the roster's tables begin with."""

_PREFIX: Final = struct.Struct("<8sHI")
_DIGEST_BYTES: Final = hashlib.sha256().digest_size

Tables = Mapping[str, npt.NDArray[Any]]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says about itself.

    Attributes:
        source: cluster, topic, partition.
        next_offset: the first offset whose event is not in the state.
        watermark_ns: largest event time seen.
        window_size: samples a window may hold.
        metrics: names of the metrics with windows, in payload order.
        series: tenant, service, model of each row, in payload order.
        recent_ids: event ids remembered against repeats, oldest first.
        samples_learned: how many samples ever entered the windows.
    """

    source: tuple[str, str, int]
    next_offset: int
    watermark_ns: int
    window_size: int
    metrics: list[str]
    series: list[tuple[str, str, str]]
    recent_ids: list[str]
    samples_learned: int


class Checkpoint(NamedTuple):
    """A verified checkpoint.

    Attributes:
        header: what it says about itself.
        windows: by name of the metric, a record of each series and the samples of all.
        tables: the roster's, and those of other detectors; none in version 1.
    """

    header: Header
    windows: dict[str, tuple[Records, Float64]]
    tables: Tables


class Copied(NamedTuple):
    """A state as it was at one offset. The state may go on changing while the copy becomes a blob, on whatever thread.

    Attributes:
        header: what the checkpoint says about itself.
        windows: for each metric in header order, records and samples.
        tables: the roster's, and those of other detectors.
    """

    header: Header
    windows: Sequence[tuple[Records, Float64]]
    tables: Tables

    def blob(self) -> bytes:
        """The state as a blob."""
        head = msgspec.json.encode(self.header)
        parts: list[bytes | memoryview] = [_PREFIX.pack(MAGIC, VERSION, len(head)), head]
        parts += (table.data.cast("B") for records_and_samples in self.windows for table in records_and_samples if len(table))
        parts.append(packed(self.tables))
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        return b"".join((*parts, digest.digest()))


def copied(
    baselines: Baselines, source: PartitionId, next_offset: int, watermark_ns: int, recent_ids: Sequence[str], tables: Tables | None = None
) -> Copied:
    """The state of a partition as a copy.

    Args:
        baselines: windows and roster.
        source: the partition they are of.
        next_offset: the first offset whose event is not in them.
        watermark_ns: largest event time seen.
        recent_ids: event ids remembered against repeats, oldest first.
        tables: what other detectors keep, as copies; their names do not begin with `roster/`.
    """
    header = Header(
        source=(source.cluster, source.topic, source.partition),
        next_offset=next_offset,
        watermark_ns=watermark_ns,
        window_size=baselines.rules.baseline.window_size,
        metrics=[METRIC_NAMES[metric] for metric in baselines.windows],
        series=[(key.tenant, key.service, key.model) for key in baselines.names],
        recent_ids=list(recent_ids),
        samples_learned=baselines.samples_learned,
    )
    roster = {ROSTER + name: table for name, table in baselines.roster.tables().items()}
    windows = [windows.export(len(baselines.names)) for windows in baselines.windows.values()]
    return Copied(header, windows, {**roster, **(tables or {})})


def digest_of(blob: bytes) -> str:
    """The checksum that a blob of ours carries, in hexadecimal."""
    return blob[-_DIGEST_BYTES:].hex()


def read(blob: bytes, source: PartitionId) -> Checkpoint:
    """What a blob holds.

    Args:
        blob: what `encode` gave.
        source: the partition that asks.

    Raises:
        SnapshotError: damaged, of another partition, or of an unknown format.
    """
    version, header, payload = _verified(blob, source)
    if version == 1:
        windows, at = snapshot_v1.windows(payload, header.metrics, len(header.series), header.window_size)
        if at != len(payload):
            raise SnapshotError("the checkpoint is longer than its header says")
        return Checkpoint(header, windows, {})
    windows, at = _windows(payload, header)
    tables = unpacked(payload[at:])
    if not any(name.startswith(ROSTER) for name in tables):
        raise SnapshotError("the checkpoint ends before the table of its series")
    return Checkpoint(header, windows, tables)


def restored(checkpoint: Checkpoint, rules: Detection) -> Baselines:
    """The windows and the roster of a checkpoint.

    Windows of metrics that the configuration no longer names are left out, those of new metrics start empty.

    Args:
        checkpoint: what `read` gave.
        rules: the configuration in force.

    Raises:
        SnapshotError: windows of another size, or more series than may be.
    """
    header = checkpoint.header
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
    known = {METRIC_INDEX[name]: found for name, found in checkpoint.windows.items() if name in METRIC_INDEX}
    names = [SeriesKey(*name) for name in header.series]
    roster = {name.removeprefix(ROSTER): table for name, table in checkpoint.tables.items() if name.startswith(ROSTER)}
    if not roster:
        roster = snapshot_v1.roster(names, [records for records, _ in checkpoint.windows.values()], rules.baseline.min_samples)
    baselines.load(names, roster, known)
    baselines.samples_learned = header.samples_learned
    return baselines


def decode(blob: bytes, rules: Detection, source: PartitionId) -> tuple[Baselines, Header]:
    """`read` and `restored` in one."""
    checkpoint = read(blob, source)
    return restored(checkpoint, rules), checkpoint.header


def _verified(blob: bytes, source: PartitionId) -> tuple[int, Header, memoryview]:
    """The version, the header, and what follows it without the digest."""
    if len(blob) < _PREFIX.size + _DIGEST_BYTES or not blob.startswith(MAGIC):
        raise SnapshotError("not a checkpoint: the magic bytes are missing")
    _, version, length = _PREFIX.unpack_from(blob)
    if version not in {1, VERSION}:
        raise SnapshotError(f"checkpoint format {version} is not known to this version, which reads 1 to {VERSION}")
    body = memoryview(blob)[:-_DIGEST_BYTES]
    if hashlib.sha256(body).digest() != blob[-_DIGEST_BYTES:]:
        raise SnapshotError("the checkpoint is damaged: its checksum does not match")
    if length > min(MAX_HEADER_BYTES, len(body) - _PREFIX.size):
        raise SnapshotError("the checkpoint's header is longer than the checkpoint")
    try:
        header = msgspec.json.decode(body[_PREFIX.size : _PREFIX.size + length], type=Header)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SnapshotError(f"the checkpoint's header cannot be read: {error}") from error
    if header.source != (source.cluster, source.topic, source.partition):
        raise SnapshotError(f"the checkpoint belongs to {'/'.join(map(str, header.source))}, not to {source}")
    return version, header, body[_PREFIX.size + length :]


def _windows(payload: memoryview, header: Header) -> tuple[dict[str, tuple[Records, Float64]], int]:
    """The windows by name of the metric, and where the tables begin."""
    found: dict[str, tuple[Records, Float64]] = {}
    at, rows = 0, len(header.series)
    for name in header.metrics:
        if at + rows * KEPT.itemsize > len(payload):
            raise SnapshotError("the checkpoint ends in the middle of a window")
        records = np.frombuffer(payload, KEPT, rows, at)
        at += records.nbytes
        samples = int(records["n"].sum(dtype=np.int64))
        snapshot_v1.check(records, header.window_size)
        if at + 8 * samples > len(payload):
            raise SnapshotError("the checkpoint ends in the middle of a window")
        found[name] = records, np.frombuffer(payload, "<f8", samples, at)
        at += 8 * samples
    return found, at
