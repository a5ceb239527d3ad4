# The part of influxdb3-python that we use: it says it is typed, and its functions are not.
from collections.abc import Mapping
from typing import Any, Literal

from pyarrow.flight import FlightStreamReader

class WriteType: ...

class WriteOptions:
    write_type: WriteType
    def __init__(self, *, write_type: WriteType, accept_partial: bool = ..., use_v2_api: bool = ..., timeout: int = ...) -> None: ...

SYNCHRONOUS: WriteOptions

class Point:
    def __init__(self, measurement_name: str) -> None: ...
    def tag(self, key: str, value: str | None) -> Point: ...
    def field(self, key: str, value: object) -> Point: ...
    def time(self, time: int) -> Point: ...
    def to_line_protocol(self) -> str: ...

class RestClient:
    timeout: float | None

class InfluxDBClient3:
    rest_client: RestClient
    def __init__(
        self,
        *,
        host: str,
        org: str,
        database: str,
        token: str,
        enable_gzip: bool = ...,
        write_client_options: Mapping[str, object],
        flight_client_options: Mapping[str, object],
        write_timeout: int,
        query_timeout: int,
        ssl_ca_cert: str | None = ...,
    ) -> None: ...
    def write(self, record: bytes, database: str) -> None: ...
    def query(
        self, query: str, language: Literal["sql"], mode: Literal["chunk"], database: str, *, query_parameters: Mapping[str, Any]
    ) -> FlightStreamReader: ...
    def get_server_version(self) -> str | None: ...
    def close(self) -> None: ...
