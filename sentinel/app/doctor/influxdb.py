"""InfluxDB: whether it answers, and whether the token may query and write both buckets. Nothing is stored."""

from collections.abc import Callable, Sequence
from typing import Final

from sentinel.app.doctor.check import Check, Finding, in_thread, ok
from sentinel.config.schema import Config
from sentinel.core.errors import StartupError

NOT_A_POINT: Final = b"sentinel_doctor"
"""A line without a field: a server that lets us write refuses it as malformed, and stores nothing."""
LIMIT_S: Final = 12.0


async def _run(config: Config) -> Sequence[Finding]:
    return await in_thread(lambda: look(config))


def look(config: Config) -> list[Finding]:
    """Blocking. Raises RetryableError or StartupError, both in our words."""
    section = config.storage.influxdb
    if section is None:
        return []
    try:
        from sentinel.storage.influx_client import InfluxClient, NoDatabaseError, RejectedError  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError:
        raise StartupError("storage.influxdb is set and its client is missing. Run `pip install llm-sentinel[influxdb]`.") from None
    client = InfluxClient(section)

    def query(bucket: str) -> str:
        try:
            for _ in client.ask(bucket, "SELECT 1", {}):
                pass
        except NoDatabaseError:
            return "does not exist yet, the first write makes it"
        return "may be queried"

    def write(bucket: str) -> str:
        try:
            client.write(bucket, NOT_A_POINT)
        except RejectedError:
            return "may be written (asked with a line that is refused)"
        return "takes writes"

    try:
        found = [ok("influxdb", f"{section.url} answers, version {client.ping()}")]
        return found + [_bucket(bucket, query, write) for bucket in (section.telemetry_bucket, section.anomaly_bucket)]
    finally:
        client.close()


def _bucket(bucket: str, *looks: Callable[[str], str]) -> Finding:
    return ok(f"influxdb bucket {bucket}", ", ".join(look(bucket) for look in looks))


INFLUXDB: Final = Check("influxdb", _run, lambda config: config.storage.influxdb is not None, LIMIT_S)
