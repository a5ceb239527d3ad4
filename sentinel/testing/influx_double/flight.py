"""The query side of the double: SQL over Arrow Flight, answered by DataFusion."""

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
from datafusion import SessionConfig, SessionContext
from pyarrow import flight, types

from sentinel.testing.influx_double.tables import Databases

ROWS_PER_MESSAGE: Final = 256
"""Rows of one message of an answer, so that a caller can stop reading early."""


class FlightSide(flight.FlightServerBase):
    """Answers `do_get` with the rows of one SQL statement.

    Args:
        databases: what can be asked for.
        token: what callers must show; None = nothing.
    """

    def __init__(self, databases: Databases, token: str | None) -> None:
        super().__init__("grpc+tcp://127.0.0.1:0", middleware={"token": _Guard(token)})
        self.databases = databases

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.RecordBatchStream:  # noqa: ARG002  the base's signature
        """One statement: the ticket is JSON with database, sql_query, query_type and params."""
        asked = json.loads(ticket.ticket)
        if asked.get("query_type") != "sql":
            raise flight.FlightServerError("the double answers SQL only")
        tables = self.databases.tables(asked["database"])
        if tables is None:
            raise flight.FlightServerError(f"database not found: {asked['database']}")
        try:
            answer = _answer(tables, asked["sql_query"], asked.get("params") or {})
        except Exception as error:
            raise flight.FlightServerError(f"Error while planning query: {error}") from error
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(answer.schema, answer.to_batches(ROWS_PER_MESSAGE)))


class _Guard(flight.ServerMiddlewareFactory):
    """Refuses calls without the token."""

    def __init__(self, token: str | None) -> None:
        self._wanted = None if token is None else f"Bearer {token}".encode()

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, list[str]]) -> flight.ServerMiddleware | None:  # noqa: ARG002  the base's signature
        shown = next(iter(headers.get("authorization", [])), "").encode()
        if self._wanted is not None and not hmac.compare_digest(shown, self._wanted):
            raise flight.FlightUnauthenticatedError("the request was not authenticated")
        return None


def _answer(tables: Mapping[str, pa.Table], statement: str, params: Mapping[str, Any]) -> pa.Table:
    context = SessionContext(SessionConfig().with_default_catalog_and_schema("public", "iox").with_information_schema())
    for name, table in tables.items():
        context.register_record_batches(name, [table.to_batches()])
    found: pa.Table = context.sql(statement, param_values={name: _typed(value) for name, value in params.items()}).to_arrow_table()
    for i, column in enumerate(found.schema):
        if types.is_dictionary(column.type):
            found = found.set_column(i, column.name, found.column(column.name).cast(pa.string()))
    return found


def _typed(value: object) -> object:
    """Parameters as the server types them: integers from 0 on are unsigned."""
    if isinstance(value, int) and not isinstance(value, bool):
        return pa.scalar(value, pa.uint64() if value >= 0 else pa.int64())
    return value
