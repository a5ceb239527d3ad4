"""The checkpoint store: whether a small blob can be written, read back and deleted, and how long that takes."""

import secrets
import time
from collections.abc import Sequence
from typing import Final

from sentinel.app.checkpoints import checkpoints_of
from sentinel.app.doctor.check import Check, Finding, failed, in_thread, ok, warning
from sentinel.app.state import places
from sentinel.config.schema import Config
from sentinel.core.errors import RetryableError
from sentinel.core.ports import CheckpointStore

SUBJECT: Final = "checkpoints"
SLOW_S: Final = 1.0
"""With dozens of partitions the state of each could be saved only rarely."""


async def _run(config: Config) -> Sequence[Finding]:
    where = places(config)
    store = checkpoints_of(config, where)
    if store is None:
        return []
    url = config.state.checkpoints.url
    if url is None and not where.checkpoints.is_dir():
        return [ok(SUBJECT, f"{where.checkpoints} does not exist yet; the daemon makes it")]
    return [await in_thread(lambda: try_out(store, url or str(where.checkpoints)))]


def try_out(store: CheckpointStore, place: str) -> Finding:
    """Put a blob of our own there, and take it away again."""
    key, blob = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(1_024)
    began = time.monotonic()
    try:
        store.put(key, blob)
        found = store.get(key)
        listed = key in store.list("doctor/")
        store.delete(key)
        gone = store.get(key) is None
    except RetryableError as error:
        what, _, cure = str(error).rpartition("; ")
        return failed(SUBJECT, what, f"{cure[:1].upper()}{cure[1:]}.")
    if found != blob or not listed or not gone:
        return failed(SUBJECT, f"{place} does not give back what was written", "Use a store that reads what it has confirmed.")
    took_s = time.monotonic() - began
    told = f"{place}: a blob was written, read, listed and deleted in {took_s * 1e3:.0f} ms"
    if took_s > SLOW_S:
        return warning(SUBJECT, told, "Use a place nearer by: states are saved less often, and a start takes longer.")
    return ok(SUBJECT, told)


CHECKPOINTS: Final = Check(SUBJECT, _run, lambda config: config.detection.baseline.enable_persistence, limit_s=30.0)
