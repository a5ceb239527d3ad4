"""The smallest other side for the InfluxDB store: every write is read to its end and answered with 204 at once; nothing is kept.

    python -m bench.sink --port 8181

It counts lines and bytes, which `GET /stats` tells, by the target of the request. Queries (the daemon asks for the positions of its logs)
are answered as by a server that was never written to.
"""

import argparse
import asyncio
import contextlib
import json
import re
import threading
from collections import Counter
from typing import Final

import uvloop
from pyarrow import flight

BUFFER_BYTES: Final = 8_388_608
_GRPC: Final = b"PRI "
"""First bytes of every HTTP/2 connection."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Nothing(flight.FlightServerBase):
    """Queries: there is no database."""

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.RecordBatchStream:  # noqa: ARG002  the base's signature
        """As InfluxDB answers before the first write."""
        raise flight.FlightServerError("database not found")


class Sink:
    """Both protocols on one port."""

    def __init__(self, queries_port: int) -> None:
        self._queries_port = queries_port
        self._lines: Counter[str] = Counter()
        self._bytes = self._requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            begun = await reader.readexactly(len(_GRPC))
            if begun == _GRPC:
                await self._pump(begun, reader, writer)
            else:
                await self._answer(begun, reader, writer)
        writer.close()

    async def _answer(self, begun: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests, one after the other."""
        while True:
            head = begun + await reader.readuntil(b"\r\n\r\n")
            begun = b""
            found = _LENGTH.search(head)
            body = await reader.readexactly(int(found[1])) if found else b""
            method, target, _ = head.split(b" ", 2)
            if method == b"GET":
                writer.write(self._stats())
                continue
            self._requests += 1
            self._bytes += len(body)
            self._lines[target.decode()] += body.count(b"\n") + 1
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    def _stats(self) -> bytes:
        stats = json.dumps({"lines": self._lines, "bytes": self._bytes, "requests": self._requests}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(stats), stats)

    async def _pump(self, begun: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes between a caller and the queries' server, both ways."""
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._queries_port)
        ours.write(begun)
        await asyncio.wait(
            [asyncio.create_task(_copy(reader, ours)), asyncio.create_task(_copy(theirs, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        ours.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()


async def serve(port: int) -> None:
    """Serve until killed."""
    queries = Nothing("grpc+tcp://127.0.0.1:0")
    threading.Thread(target=queries.serve, daemon=True).start()
    listener = await asyncio.start_server(Sink(queries.port).serve, "127.0.0.1", port, limit=BUFFER_BYTES)
    await listener.serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
