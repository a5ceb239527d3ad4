"""The double itself: one port for HTTP and gRPC, in threads of its own."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Final, Self

import pyarrow as pa
from aiohttp import web

from sentinel.testing.influx_double.faults import Faults
from sentinel.testing.influx_double.flight import FlightSide
from sentinel.testing.influx_double.http import HttpSide
from sentinel.testing.influx_double.tables import Databases

MAX_POINTS: Final = 2_000_000

_GRPC: Final = b"PRI "
"""First bytes of every HTTP/2 connection."""
_ANSWER_S: Final = 0.05
_PUMP_BYTES: Final = 65_536


class InfluxDouble:
    """A server on loopback; see the package's docstring for what it is and is not.

    Args:
        port: 0 = a free one.
        token: what callers must show; None = nothing.
        max_points: points it holds at most; beyond them writes are answered with 507.
    """

    def __init__(self, *, port: int = 0, token: str | None = None, max_points: int = MAX_POINTS) -> None:
        self.faults = Faults()
        self.port = port
        self._token = token
        self._databases = Databases(max_points)
        self._http = HttpSide(self._databases, self.faults, token, self._go_away)
        self._flight: FlightSide | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Task[None] | None = None
        self._outage: asyncio.Task[None] | None = None
        self._open: set[asyncio.BaseTransport] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def write_requests(self) -> int:
        """Write requests so far, refused ones too."""
        return self._http.write_requests

    @property
    def points_received(self) -> int:
        """Points stored so far, repeats counted each time."""
        return self._databases.received

    def rows(self, database: str, table: str) -> int:
        """Points in a table."""
        return self._databases.rows().get(database, {}).get(table, 0)

    def sum(self, database: str, table: str, column: str) -> float:
        """The sum of a column; 0 where there is none."""
        return self._databases.sum(database, table, column)

    def table(self, database: str, table: str) -> pa.Table:
        """A table as it is now. Raises KeyError when there is none."""
        return (self._databases.tables(database) or {})[table]

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._loop = asyncio.new_event_loop()
        self._flight = FlightSide(self._databases, self._token)
        self._threads = [
            threading.Thread(target=self._loop.run_forever, name="influx-double", daemon=True),
            threading.Thread(target=self._flight.serve, name="influx-double-flight", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._call(self._prepare())
        self.up()

    def up(self) -> None:
        """Take connections, on the same port as before."""
        self._call(self._listen())

    def down(self) -> None:
        """Refuse connections and break those there are."""
        self._call(self._hang_up())

    def close(self) -> None:
        """Stop and forget everything. Twice is harmless."""
        loop, flight = self._loop, self._flight
        if loop is None or flight is None:
            return
        self.down()
        self._call(self._finish())
        self._loop = self._flight = None
        loop.call_soon_threadsafe(loop.stop)
        flight.shutdown()
        for thread in self._threads:
            thread.join()
        loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the double's loop and wait."""
        if self._loop is None:
            work.close()
            raise RuntimeError("the double was not started")
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _prepare(self) -> None:
        self._runner = web.AppRunner(self._http.application(), access_log=None)
        await self._runner.setup()

    async def _finish(self) -> None:
        if self._outage is not None:
            self._outage.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listening = asyncio.create_task(self._accept(listener))

    def _go_away(self, seconds: float) -> None:
        """On the double's loop: be down for a while, once the answer to whoever asked for it is sent."""
        self._outage = asyncio.create_task(self._stay_away(seconds))

    async def _stay_away(self, seconds: float) -> None:
        await asyncio.sleep(_ANSWER_S)
        await self._hang_up()
        await asyncio.sleep(seconds)
        await self._listen()

    async def _hang_up(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
            self._listening = None
        for transport in list(self._open):
            transport.abort() if isinstance(transport, asyncio.Transport) else transport.close()
        self._open.clear()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        serving: set[asyncio.Task[None]] = set()
        try:
            while True:
                connection, _ = await loop.sock_accept(listener)
                task = asyncio.create_task(self._serve(connection))
                serving.add(task)
                task.add_done_callback(serving.discard)
        finally:
            listener.close()
            for task in serving:
                task.cancel()

    async def _serve(self, connection: socket.socket) -> None:
        """Hand the connection to the side that speaks its protocol."""
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        begun = await _peek(connection)
        if begun != _GRPC:
            server = self._runner.server if self._runner is not None else None
            if not begun or server is None:
                connection.close()
                return
            transport, _ = await loop.connect_accepted_socket(server, connection)
            self._open.add(transport)
            return
        await self._pump(connection)

    async def _pump(self, connection: socket.socket) -> None:
        """Carry bytes between a caller and the Flight server, both ways."""
        if self._flight is None:
            return
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._flight.port)
        caller, back = await asyncio.open_connection(sock=connection)
        self._open |= {ours.transport, back.transport}
        try:
            await asyncio.wait(
                [asyncio.create_task(_copy(caller, ours)), asyncio.create_task(_copy(theirs, back))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for writer in (ours, back):
                writer.transport.abort()
                self._open.discard(writer.transport)


async def _peek(connection: socket.socket) -> bytes:
    """The first four bytes, left where they are; none when the caller hung up before."""
    loop = asyncio.get_running_loop()
    while True:
        readable = loop.create_future()
        loop.add_reader(connection, readable.set_result, None)
        try:
            await readable
        finally:
            loop.remove_reader(connection)
        try:
            begun = connection.recv(len(_GRPC), socket.MSG_PEEK)
        except OSError:
            return b""
        if not begun or len(begun) == len(_GRPC):
            return begun


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_PUMP_BYTES):
            target.write(data)
            await target.drain()
