"""The double: what it promises about InfluxDB's wire, its limits, and its levers."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import urllib3
from influx_places import TELEMETRY, TOKEN, opened, plain, written

from sentinel.core.errors import RetryableError
from sentinel.storage.influx_points import EVENTS
from sentinel.testing.influx_double import InfluxDouble
from sentinel.testing.influx_double.tables import SEALED_ROWS, Databases, FullError

http = urllib3.PoolManager(retries=False)


@pytest.fixture
def double() -> Iterator[InfluxDouble]:
    """A double that lets everybody in."""
    with InfluxDouble() as server:
        yield server


def post(double: InfluxDouble, path: str, body: str, **headers: str) -> tuple[int, object]:
    """Status and JSON of an answer."""
    answer = http.request("POST", f"{double.url}{path}", body=body.encode(), headers=headers)
    return answer.status, answer.json() if answer.data else None


V3 = "/api/v3/write_lp?db=d&precision=nanosecond"
V2 = "/api/v2/write?bucket=d&precision=ns"
CONFLICT = "invalid column type for column 'x', expected iox::column_type::field::float, got iox::column_type::field::string"


def test_refusals_have_the_documented_shape(double: InfluxDouble) -> None:
    """All or nothing names the first bad line; partial writes store the good ones and name all bad ones."""
    bad = 'm x=1 1\nm x="hi" 2\nm x=3 3\nnonsense'
    status, said = post(double, f"{V3}&accept_partial=false", bad)
    assert (status, double.rows("d", "m")) == (400, 0)
    assert said == {
        "error": "parsing failed for write_lp endpoint",
        "data": {"original_line": 'm x="hi" 2', "line_number": 2, "error_message": CONFLICT},
    }
    for path in (V3, V2):
        status, said = post(double, path, bad)
        assert (status, double.rows("d", "m")) == (400, 2)
        assert isinstance(said, dict)
        assert said["error"] == "partial write of line protocol occurred"
        assert [error["line_number"] for error in said["data"]] == [2, 4]


def test_a_refused_request_begins_no_column(double: InfluxDouble) -> None:
    """Types of columns are those of points that were stored, not of points that were refused."""
    assert post(double, f"{V3}&accept_partial=false", "m x=1 1\nnonsense")[0] == 400
    assert post(double, f"{V3}&accept_partial=false", 'm x="text" 1')[0] == 204


def test_points_are_upserted_by_tags_and_time(double: InfluxDouble) -> None:
    """The same tags, in any order, and time are the same point, also long after: its fields are replaced one by one."""
    post(double, V3, "m,a=1,b=2 x=1,y=1 1")
    post(double, V3, "\n".join(f"m,a=other x=1 {i}" for i in range(3 * SEALED_ROWS)))
    post(double, V3, "m,b=2,a=1 x=5,z=7i 1")
    assert double.rows("d", "m") == 3 * SEALED_ROWS + 1
    table = double.table("d", "m")
    assert table.num_rows == 3 * SEALED_ROWS + 1
    at = table.column("a").to_pylist().index("1")
    assert [table.column(name).to_pylist()[at] for name in ("x", "y", "z")] == [5.0, 1.0, 7]
    assert double.sum("d", "m", "x") == 3 * SEALED_ROWS + 5
    assert double.sum("d", "m", "none") == double.sum("none", "m", "x") == 0


def test_memory_is_bounded() -> None:
    """Beyond its limit the double takes nothing more."""
    databases = Databases(max_points=2)
    assert databases.write("d", ["m x=1 1", "m x=1 2"], None, partial=True) == []
    with pytest.raises(FullError):
        databases.write("d", ["m x=1 3"], None, partial=True)


def test_other_requests_are_refused(double: InfluxDouble) -> None:
    """What the double cannot do like a server, it does not do at all."""
    assert post(double, "/api/v3/write_lp?db=d&precision=second", "m x=1 1")[0] == 400
    assert post(double, "/api/v3/write_lp?precision=nanosecond", "m x=1 1")[0] == 400
    assert post(double, "/api/v2/write?bucket=d", "m x=1 1")[0] == 400
    assert http.request("POST", f"{double.url}{V3}", body=b"m,a=\xff x=1 1").status == 400
    assert http.request("GET", f"{double.url}/query").status == 404


def test_a_token_is_wanted() -> None:
    """Both spellings of the header are taken, anything else is not."""
    with InfluxDouble(token="abc") as double:
        for shown, status in (("Token abc", 204), ("Bearer abc", 204), ("Token abd", 401), ("", 401)):
            assert post(double, V3, "m x=1 1", Authorization=shown)[0] == status


async def test_it_goes_away_for_a_while(double: InfluxDouble) -> None:
    """Told over HTTP to be down, it refuses connections and comes back by itself, with what it had."""
    async with opened(double) as store:
        await store.write([plain(10)])
        assert post(double, "/faults", '{"down_s": 0.2}')[0] == 204
        failures: list[RetryableError] = []
        first = 10
        while not failures:
            _, failures = await written(store, plain(10, first))
            first += 10
            await asyncio.sleep(0.01)
    assert "cannot reach" in str(failures[0])
    assert double.rows(TELEMETRY, EVENTS) == first


def test_closing_twice_is_harmless() -> None:
    """A double can be closed twice, and before it was started."""
    double = InfluxDouble()
    double.close()
    with InfluxDouble() as other:
        other.close()


async def test_it_runs_as_a_process_of_its_own() -> None:
    """As a process it serves the store, counts and adds up, and fails when told so over HTTP."""
    command = [sys.executable, "-m", "sentinel.testing.influx_double", "--max-points", "2000", "--token-env", "DOUBLE_TOKEN"]
    environment = {**os.environ, "DOUBLE_TOKEN": TOKEN}
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment, cwd=root)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with opened(SimpleNamespace(url=url)) as store:
            await store.write([plain(1_000)])
        stats = http.request("GET", f"{url}/stats?db={TELEMETRY}&table={EVENTS}&sum=latency_ms").json()
        assert stats["rows"][TELEMETRY][EVENTS] == 1_000
        assert stats["sum"] == 1_000 * 1_001 / 2
        assert http.request("POST", f"{url}/faults", body=b'{"status": 503, "requests": 1, "retry_after": "3"}').status == 204
        headers = {"Authorization": f"Token {TOKEN}"}
        statuses = [http.request("POST", f"{url}{V3}", body=b"m x=1 1", headers=headers).status for _ in range(2)]
        assert statuses == [503, 204]
    finally:
        process.terminate()
    assert await process.wait() == 0
