"""A wire between us and a server, which can be cut, muted and made to speak TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator


class Wire:
    """Passes bytes on in both directions.

    Attributes:
        port: where to connect instead of the server's port.
        opened: connections so far.
        flowing: while it is clear nothing passes, and no connection ends: a half-open connection.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.opened = 0
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.opened += 1
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, inner_writer}
        await asyncio.gather(self._pass_on(reader, inner_writer), self._pass_on(inner_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self.flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """End every connection as a crash would."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@contextlib.asynccontextmanager
async def wire(target: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """A wire to a port of this machine."""
    made = Wire(target)
    server = await asyncio.start_server(made.joined, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.flowing.set()
        made.cut()
        await asyncio.sleep(0)
