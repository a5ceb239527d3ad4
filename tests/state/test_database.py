"""The state database: its schema, its transactions, what its failures say and what they never say."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select, text
from state_databases import Make, opened, section_of

from sentinel.config import sections_state
from sentinel.config.secret import Secret
from sentinel.core.errors import PermanentError, RetryableError, StartupError
from sentinel.state.database import StateDatabase
from sentinel.state.tables import API_KEYS, AUDIT, METADATA

KEY = {"kid": "k1", "secret_sha256": "s", "name": "n", "scopes": "viewer", "created_ns": 1, "created_by": "me"}


def add(**more: Any) -> Any:
    """Work that adds a key."""
    return lambda connection: connection.execute(insert(API_KEYS).values(**{**KEY, **more}))


def kids(connection: Connection) -> list[str]:
    """Which keys there are."""
    return list(connection.execute(select(API_KEYS.c.kid).order_by(API_KEYS.c.kid)).scalars())


async def test_migrations_and_tables_agree(state: StateDatabase) -> None:
    """What the migrations make is what `tables` declares: nothing missing, nothing more, on both databases."""

    def difference(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA))

    assert await state.run(difference) == []
    await state.run(lambda connection: connection.execute(text("ALTER TABLE api_keys DROP COLUMN name")))
    await state.run(lambda connection: connection.execute(text("DROP INDEX ix_alerts_open")))
    assert {entry[0] for entry in await state.run(difference)} == {"add_column", "add_index"}  # the comparison is not blind


async def test_a_second_open_finds_the_first_ones_rows(make: Make) -> None:
    """Migrating again changes nothing, and what was written stays."""
    async with opened(make()) as first:
        await first.run(add())
    async with opened(make()) as second:
        assert await second.read(kids) == ["k1"]


async def test_many_at_once_open_one_new_database(make: Make) -> None:
    """Replicas that start at the same time do not collide: one migrates, the others wait for it."""
    databases = [make() for _ in range(6)]
    await asyncio.gather(*(database.open() for database in databases))
    await asyncio.gather(*(database.run(add(kid=f"k{i}")) for i, database in enumerate(databases)))
    assert await databases[0].read(kids) == [f"k{i}" for i in range(6)]
    await asyncio.gather(*(database.close() for database in databases))


async def test_a_newer_schema_is_refused(make: Make) -> None:
    """A database that a newer version has written is left alone, and the message says what to do."""
    async with opened(make()) as database:
        await database.run(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    newer = make()
    with pytest.raises(StartupError, match=r"schema 9999.*[Nn]ewer.*backup"):
        await newer.open()
    with pytest.raises(RetryableError, match="not open"):
        await newer.run(kids)


async def test_work_is_all_or_nothing(state: StateDatabase) -> None:
    """When the work raises, nothing of it stays, and its own error comes out."""

    def work(connection: Connection) -> None:
        add()(connection)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await state.run(work)
    assert await state.read(kids) == []


async def test_all_writes_run_on_one_thread_in_order(state: StateDatabase) -> None:
    """`run` keeps the order it was asked in, off the event loop's thread; `read` does not wait for it."""
    seen: list[tuple[int, int]] = []
    held, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(_connection: Connection) -> None:
        loop.call_soon_threadsafe(held.set)
        assert go.wait(20)

    waiting = asyncio.create_task(state.run(wait))
    await held.wait()
    writes = [asyncio.create_task(state.run(lambda _c, i=i: seen.append((i, threading.get_ident())))) for i in range(5)]
    assert await state.read(kids) == []
    go.set()
    await asyncio.gather(waiting, *writes)
    assert [i for i, _ in seen] == list(range(5))
    assert len({thread for _, thread in seen}) == 1
    assert seen[0][1] != threading.get_ident()


async def test_a_broken_rule_is_permanent_and_quotes_nothing(state: StateDatabase) -> None:
    """Rows that break a rule raise PermanentError; neither its text nor its traceback holds what was to be written."""
    kid, name = "kid-" + "7" * 20, "hostile-" + "8" * 20
    await state.run(add(kid=kid))
    with pytest.raises(PermanentError) as caught:
        await state.run(add(kid=kid, name=name))
    told = "".join(traceback.format_exception(caught.value))
    assert kid not in told
    assert name not in told
    assert "cannot hold these rows" in told


async def test_a_failing_statement_is_retryable_and_quotes_nothing(state: StateDatabase) -> None:
    """What is no row's fault may pass: here a table that somebody has removed."""
    await state.run(lambda connection: connection.execute(text("DROP TABLE audit")))
    actor = "somebody-" + "7" * 20
    row = {"at_ns": 1, "actor": actor, "action": "a", "target": "t", "detail": "{}", "prev_hash": "p", "hash": "h"}
    with pytest.raises(RetryableError) as caught:
        await state.run(lambda connection: connection.execute(insert(AUDIT).values(row)))
    assert actor not in "".join(traceback.format_exception(caught.value))


async def test_the_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    """The SQLite file and its companions can be read by nobody else, also when the file was there with more rights."""
    path = tmp_path / "open" / "state.db"
    path.parent.mkdir()
    path.touch(0o644)
    before = os.umask(0)
    try:
        async with opened(StateDatabase(sections_state.StateDatabase(path=str(path)), tmp_path / "other.db")) as database:
            await database.run(add())
            assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)
    assert not (tmp_path / "other.db").exists()


async def test_sqlite_is_set_up_to_survive_a_loss_of_power(tmp_path: Path) -> None:
    """Write-ahead log, a sync at every commit, foreign keys, and a limit on waiting for others that `timeout_secs` sets."""
    async with opened(StateDatabase(sections_state.StateDatabase(timeout_secs=3), tmp_path / "s.db")) as database:
        found = await database.run(
            lambda connection: [
                connection.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        )
    assert found == ["wal", 2, 1, 3000]


async def test_another_programs_lock_is_retryable(tmp_path: Path) -> None:
    """While another program holds the write lock, a write fails as retryable with the cure; afterwards it succeeds."""
    path = tmp_path / "s.db"
    async with opened(StateDatabase(sections_state.StateDatabase(timeout_secs=0.01), path)) as database:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RetryableError, match="another program holds"):
            await database.run(add())
        other.execute("ROLLBACK")
        other.close()
        await database.run(add())
        assert await database.read(kids) == ["k1"]


@pytest.mark.parametrize("kind", ["directory", "foreign", "unwritable"])
async def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, kind: str) -> None:
    """What stands in the way is named, with the place and what to do."""
    path = tmp_path / "s.db"
    if kind == "directory":
        path.mkdir()
    elif kind == "foreign":
        path.write_bytes(b"this is no database, but long enough to be read as one" * 20)
    else:
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "s.db"
    with pytest.raises(StartupError, match=r"s\.db.*(state\.path|move it away)"):
        await StateDatabase(sections_state.StateDatabase(path=str(path)), tmp_path / "other").open()


async def test_a_server_that_is_not_there_is_a_startup_error_without_the_password(tmp_path: Path) -> None:
    """PostgreSQL that does not answer: place and cure, and the password in no text."""
    section = section_of("postgresql://somebody@127.0.0.1:1/db", password=Secret("hunter2hunter2"))
    with pytest.raises(StartupError, match=r"127\.0\.0\.1:1/db.*cannot be reached") as caught:
        await StateDatabase(section, tmp_path / "unused").open()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_why_a_server_refuses_us_is_said(database: str, tmp_path: Path) -> None:
    """A database that is not there: the server's own reason stands in the message."""
    with pytest.raises(StartupError, match='database "nowhere" does not exist'):
        await StateDatabase(section_of(database.rpartition("/")[0] + "/nowhere"), tmp_path / "unused").open()


async def test_an_unencrypted_server_is_refused_unless_it_is_allowed(database: str, tmp_path: Path) -> None:
    """`tls: verify`, the default, does not talk to a server without TLS; `off` does."""
    section = section_of(database)
    with pytest.raises(StartupError, match=r"state\.tls"):
        await StateDatabase(section.model_copy(update={"tls": "verify"}), tmp_path / "unused").open()
    async with opened(StateDatabase(section, tmp_path / "unused")) as state:
        assert await state.read(kids) == []


def certified(server: Any, directory: Path) -> Path:
    """Let a PostgreSQL server speak TLS with a certificate for 127.0.0.1; the file of its authority, which is itself."""
    certificate, key = server._data / "own.crt", server._data / "own.key"
    made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)  # noqa: S607
    for file in (certificate, key):
        os.chown(file, server._data.stat().st_uid, -1)
        file.chmod(0o600)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for setting in ("ssl_cert_file = 'own.crt'", "ssl_key_file = 'own.key'", "ssl = on"):
            connection.execute(f"ALTER SYSTEM SET {setting}")  # type: ignore[arg-type]
    server.stop()
    server.start()
    authority = directory / "authority.pem"
    authority.write_bytes(certificate.read_bytes())
    return authority


async def test_the_servers_certificate_is_checked(own_postgres: Any, tmp_path: Path) -> None:
    """`tls: verify` with the right `ca_file` gives an encrypted connection; an unknown authority or a name it does not bear, none."""
    authority = await asyncio.to_thread(certified, own_postgres, tmp_path)
    section = section_of(own_postgres.url()).model_copy(update={"tls": "verify", "ca_file": str(authority)})
    async with opened(StateDatabase(section, tmp_path / "unused")) as state:
        asked = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert await state.read(lambda connection: connection.execute(asked).scalar()) is True
    unknown = section.model_copy(update={"ca_file": None})
    foreign = section.model_copy(update={"url": str(section.url).replace("127.0.0.1", "localhost")})
    for wrong in (unknown, foreign):
        with pytest.raises(StartupError, match=r"state\.tls"):
            await StateDatabase(wrong, tmp_path / "unused").open()


async def test_a_statement_ends_at_its_time_limit(database: str, tmp_path: Path) -> None:
    """`timeout_secs` stops a statement on PostgreSQL; the failure says so."""
    async with opened(StateDatabase(section_of(database, timeout_secs=0.05), tmp_path / "unused")) as state:
        with pytest.raises(RetryableError, match=r"state\.timeout_secs"):
            await state.run(lambda connection: connection.execute(text("SELECT pg_sleep(30)")))


async def test_after_an_outage_of_the_server_work_goes_on(own_postgres: Any, tmp_path: Path) -> None:
    """PostgreSQL crashes and comes back: writes fail as retryable meanwhile and succeed afterwards, with nothing to restart."""
    async with opened(StateDatabase(section_of(own_postgres.create_database()), tmp_path / "unused")) as state:
        await state.run(add())
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(RetryableError):
            await state.run(add(kid="k2"))
        await asyncio.to_thread(own_postgres.start)
        await state.run(add(kid="k2"))
        assert await state.read(kids) == ["k1", "k2"]


def test_without_the_driver_the_extra_is_named(tmp_path: Path) -> None:
    """PostgreSQL without psycopg: a start-up error that says what to install."""
    script = f"""
import asyncio, sys
sys.modules["psycopg"] = None
from pathlib import Path
from sentinel.config.sections_state import StateDatabase as Section
from sentinel.core.errors import StartupError
from sentinel.state.database import StateDatabase
try:
    asyncio.run(StateDatabase(Section(url="postgresql://h/db"), Path({str(tmp_path / "unused")!r})).open())
except StartupError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install llm-sentinel[postgres]" in shown.stdout


@pytest.mark.parametrize(
    "url", ["http://h/db", "postgresql://u:p@h/db", "postgresql://h", "postgresql://h/db?sslmode=disable", "postgresql://h/db#x"]
)
def test_a_url_holds_a_place_and_nothing_else(url: str) -> None:
    """No credentials and no settings in the URL: each has a key of its own."""
    with pytest.raises(ValueError, match=r"url"):
        sections_state.StateDatabase(url=url)


async def test_open_and_close_twice_are_harmless(make: Make) -> None:
    """Nothing happens the second time; after `close` it can be opened again."""
    database = make()
    await database.close()
    await database.open()
    await database.open()
    await database.run(add())
    await database.close()
    await database.close()
    async with opened(database):
        assert await database.read(kids) == ["k1"]
