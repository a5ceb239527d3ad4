"""The rows of the embedded store as an input. The daemon may run meanwhile: the file is only read."""

from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from sqlite3 import Connection, Error
from typing import Final

from sentinel.app.backtest.inputs import BacktestError, Part
from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.errors import RetryableError
from sentinel.core.stored import batch_of
from sentinel.storage.database import ReaderPool
from sentinel.storage.reader import replay_block

READ_LIMIT_S: Final = 60.0
"""Seconds one block may take: nobody waits for the next but us."""
LACKS: Final = "Rows of the store are read without users, finish reasons, providers and prompt versions: what rests on these is not judged."


class StoreInput:
    """Everything the embedded store holds, its logs side by side in order of time.

    What only explanations, priors of new series and a few detectors use is not read: texts, users, dimensions, whether there was
    personal data.

    Args:
        path: the database file.

    Raises BacktestError when there is none.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise BacktestError(
                f"there is no store {path}: the daemon makes it. Name its configuration with --config, or its state_dir there."
            )
        self._path = path
        self.rereadable = True
        self.lacks: str | None = LACKS
        self.name = str(path)

    def parts(self) -> Iterator[Part]:
        """The rows, with the share of rows read."""
        pool = ReaderPool(self._path, READ_LIMIT_S)
        try:
            pool.open()
            logs, total = pool.read(_logs)
            done = 0
            for batch in merge(*(_batches(pool, source) for source in logs), key=lambda batch: int(batch.ts_ns[0])):
                done += len(batch)
                yield Part(batch, min(done / max(total, 1), 1.0))
        except (Error, RetryableError) as error:
            raise BacktestError(f"cannot read the store {self._path}: {error}") from error
        finally:
            pool.close()


def _batches(pool: ReaderPool, source: PartitionId) -> Iterator[CleanBatch]:
    """The rows of one log, in log order."""
    after = (-1, -1)
    while (found := pool.read(replay_block, source, after)) is not None:
        block, after = found
        yield batch_of(source, block)


def _logs(connection: Connection) -> tuple[list[PartitionId], int]:
    """The logs the store knows, and how many rows it has of all together."""
    rows = connection.execute("SELECT cluster, topic, partition FROM logs ORDER BY part").fetchall()
    (events,) = connection.execute("SELECT events FROM totals").fetchone()
    return [PartitionId(*row) for row in rows], events
