"""A stand-in for an InfluxDB 3 server, for tests and measurements where none can run.

It speaks the wire as the official client uses it: `/api/v3/write_lp`, `/api/v2/write` and `/ping` over HTTP, and SQL over Arrow Flight
on the same port, answered by DataFusion, the engine of InfluxDB 3. It upserts by tags and time, gives columns the type they were first
written with, refuses what is no line protocol (judged by an independent parser), checks the token, and fails as told.

What it is not: the bodies of its errors follow the public documentation and were never held against a real server. It keeps everything
in memory, up to a limit, and forgets it when it stops; a line break inside a string field is read as the end of a line.

    with InfluxDouble(token="secret") as double:
        ...  # write to double.url
        double.faults.status = 503
"""

from sentinel.testing.influx_double.faults import Faults
from sentinel.testing.influx_double.server import InfluxDouble

__all__ = ["Faults", "InfluxDouble"]
