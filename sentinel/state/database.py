"""The state database: SQLite for one process, PostgreSQL for several replicas, behind one way to run a transaction."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from sentinel.config import sections_state
from sentinel.core.errors import RetryableError, StartupError
from sentinel.state import engine
from sentinel.state.failures import cause, refusal, told
from sentinel.state.migrate import migrate

T = TypeVar("T")


class StateDatabase:
    """Transactions off the event loop: one thread that writes, in the order it was asked, and one that reads.

    Args:
        section: which database.
        default_path: the SQLite file when the section names none.

    Attributes:
        place: where it is, for messages; never with credentials.
        shared: whether other replicas may use it as well.
    """

    def __init__(self, section: sections_state.StateDatabase, default_path: Path) -> None:
        self._section = section
        self._path = Path(section.path) if section.path else default_path
        self.shared = section.url is not None
        self.place = section.url or str(self._path)
        self._engine: Engine | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._reader: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Connect and bring the tables up to date. Raises StartupError with place and cure. Twice is harmless."""
        if self._engine is not None:
            return
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="state-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="state-read")
        try:
            self._engine = await asyncio.get_running_loop().run_in_executor(self._writer, self._connect)
        except BaseException:
            await self.close()
            raise

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do something in one transaction on the writing thread: all of it is durable when this returns, or nothing happened.

        `work` may be run again by the caller after a failure; it must do nothing but use the connection.

        Raises:
            RetryableError: the database failed; the same work may succeed later.
            PermanentError: these rows break a rule of the database.
        """
        return await self._on(self._writer, work, reading=False)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Ask something in one consistent view, without holding up `run`. Raises RetryableError."""
        return await self._on(self._reader, work, reading=True)

    async def close(self) -> None:
        """Finish what was asked, then disconnect. Twice is harmless."""
        threads = [thread for thread in (self._writer, self._reader) if thread is not None]
        self._writer = self._reader = None
        for thread in threads:
            await asyncio.to_thread(thread.shutdown)
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _connect(self) -> Engine:
        """An engine whose database has our tables."""
        try:
            made = engine.postgresql(self._section) if self.shared else engine.sqlite(self._path, self._section.timeout_secs)
        except OSError as error:
            raise StartupError(
                f"cannot open the state database {self.place}: {error.strerror}; give the daemon's user write access, or set state.path"
            ) from error
        try:
            with made.begin() as connection:
                migrate(connection, self.place)
        except SQLAlchemyError as error:
            made.dispose()
            secret = self._section.password.reveal() if self._section.password else None
            raise StartupError(f"cannot open the state database {self.place}: {cause(error)}{refusal(error, secret)}") from None
        except BaseException:
            made.dispose()
            raise
        return made

    async def _on(self, thread: ThreadPoolExecutor | None, work: Callable[[Connection], T], *, reading: bool) -> T:
        if thread is None or self._engine is None:
            raise RetryableError(f"the state database {self.place} is not open")
        return await asyncio.get_running_loop().run_in_executor(thread, self._transaction, self._engine, work, reading)

    def _transaction(self, made: Engine, work: Callable[[Connection], T], reading: bool) -> T:
        with told(self.place), made.connect().execution_options(**{engine.READ: reading}) as connection, connection.begin():
            return work(connection)
