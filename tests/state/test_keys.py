"""API keys in the state database, and in the memory of a daemon."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Connection, text

from sentinel.config.schema import StateDatabase as Section
from sentinel.core.access import ApiKey, Role, digest_of, spelled
from sentinel.core.errors import PermanentError, RetryableError
from sentinel.observability.metrics import Metrics
from sentinel.state import audit, keys
from sentinel.state.database import StateDatabase
from sentinel.state.key_cache import RELOAD_S, KeyCache
from sentinel.testing.fakes import START_NS, ManualClock

TEXT = spelled("a" * 16, "5" * 64)
KEY = ApiKey("a" * 16, "dashboard", frozenset((Role.VIEWER,)), digest_of(TEXT), START_NS, "cli:ann")


def another(kid: str) -> ApiKey:
    """A key with another kid."""
    return replace(KEY, kid=kid * 16, digest=digest_of(spelled(kid * 16, "5" * 64)))


async def create(state: StateDatabase, *made: ApiKey) -> None:
    """Keep these keys."""
    for key in made:
        await state.run(lambda connection, key=key: keys.create(connection, key, key.created_by))


async def revoke(state: StateDatabase, kid: str) -> ApiKey | None:
    """Revoke the key of this kid."""
    return await state.run(lambda connection: keys.revoke(connection, kid, "cli:bob", START_NS + 1))


async def test_a_key_comes_back_as_it_was_kept(state: StateDatabase) -> None:
    """All of it, with several roles and an end."""
    both = replace(another("b"), roles=frozenset((Role.VIEWER, Role.INGESTER)), expires_ns=START_NS + 5)
    await create(state, KEY, both)
    assert await state.read(keys.listed) == [KEY, both]
    assert await state.read(keys.alive) == {KEY.kid: KEY, both.kid: both}


async def test_the_secret_is_not_kept(state: StateDatabase) -> None:
    """Of the key as it is sent only the sha256 is in the tables, and not even that in the audit log."""
    await create(state, KEY)

    def everything(connection: Connection) -> str:
        return str([tuple(row) for table in ("api_keys", "audit") for row in connection.execute(text(f"SELECT * FROM {table}"))])

    kept = await state.read(everything)
    assert "5" * 16 not in kept
    assert kept.count(KEY.digest.decode()) == 1


async def test_making_and_revoking_are_audited_with_the_change(state: StateDatabase) -> None:
    """Who, what, whom; a second revocation changes nothing and is no entry; the chain holds."""
    await create(state, KEY)
    assert await revoke(state, KEY.kid) == KEY
    again = await revoke(state, KEY.kid)
    assert again is not None
    assert again.revoked_ns == START_NS + 1
    entries = await state.read(lambda connection: audit.latest(connection, 10))
    assert [(entry.actor, entry.action, entry.target, entry.detail["name"]) for entry in entries] == [
        ("cli:bob", "key.revoked", KEY.kid, "dashboard"),
        ("cli:ann", "key.created", KEY.kid, "dashboard"),
    ]
    assert entries[1].detail["roles"] == "viewer"
    assert await state.read(audit.verify) is None


async def test_revoked_keys_are_listed_and_not_alive(state: StateDatabase) -> None:
    """They open nothing, and people can see that they were there; a kid that never was is told apart."""
    await create(state, KEY, another("b"))
    await revoke(state, KEY.kid)
    assert list(await state.read(keys.alive)) == ["b" * 16]
    assert [key.revoked_ns for key in await state.read(keys.listed)] == [START_NS + 1, None]
    assert await revoke(state, "c" * 16) is None
    assert await revoke(state, "' OR 1=1 --") is None
    assert list(await state.read(keys.alive)) == ["b" * 16]


async def test_the_number_of_keys_is_bounded(state: StateDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are in memory; the error says what to do, and a revoked one makes room."""
    monkeypatch.setattr(keys, "MOST_KEYS", 1)
    await create(state, KEY)
    with pytest.raises(PermanentError, match="revoke"):
        await create(state, another("b"))
    await revoke(state, KEY.kid)
    await create(state, another("b"))


async def test_a_kid_is_there_once(state: StateDatabase) -> None:
    """A second key with it is refused and not audited."""
    await create(state, KEY)
    with pytest.raises(PermanentError):
        await create(state, KEY)
    assert len(await state.read(lambda connection: audit.latest(connection, 10))) == 1


async def test_roles_of_a_newer_version_open_nothing(state: StateDatabase) -> None:
    """A word that is no role, or a damaged hash, keeps nobody else out."""
    await create(state, KEY, another("b"))
    await state.run(
        lambda connection: connection.execute(text("UPDATE api_keys SET scopes = 'emperor viewer', secret_sha256 = 'é'")).rowcount
    )
    assert {key.roles for key in (await state.read(keys.alive)).values()} == {frozenset((Role.VIEWER,))}


# ------------------------------------------------------------------------------------------------------------------- in memory


@pytest.fixture
def clock() -> ManualClock:
    """Time that moves when told."""
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of its own."""
    return Metrics()


@pytest.fixture
def cache(state: StateDatabase, clock: ManualClock, metrics: Metrics) -> KeyCache:
    """A cache that has read nothing yet."""
    return KeyCache(state, clock, metrics)


async def last_used(state: StateDatabase) -> list[int | None]:
    """When each key was last used, as it is written."""
    return [key.last_used_ns for key in await state.read(keys.listed)]


async def test_the_cache_follows_the_database(state: StateDatabase, cache: KeyCache, clock: ManualClock, metrics: Metrics) -> None:
    """Keys made and revoked by others are noticed by the next reading, a few seconds apart, without anybody asking for it."""
    assert (cache.loaded, cache.find(KEY.kid)) == (False, None)
    await cache.open()
    try:
        assert (cache.loaded, len(cache)) == (True, 0)
        await create(state, KEY)
        await _until(lambda: cache.find(KEY.kid) is not None)
        assert metrics.api_keys._value.get() == 1
        await revoke(state, KEY.kid)
        await _until(lambda: cache.find(KEY.kid) is None)
        assert set(clock.slept) == {RELOAD_S}
    finally:
        await cache.close()
        await cache.close()


async def _until(happened: Callable[[], bool]) -> None:
    """Let the cache go on reading until it has noticed."""
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110  read aside
            await asyncio.sleep(0)


async def test_a_database_that_is_down_keeps_nobody_out(state: StateDatabase, cache: KeyCache, metrics: Metrics) -> None:
    """The keys last read go on working; it is told once, in `fault`, log and metric, and once more when it is over."""
    await create(state, KEY)
    await cache.refresh()
    await state.close()
    with structlog.testing.capture_logs() as entries:
        await cache.refresh()
        await cache.refresh()
    assert cache.find(KEY.kid) == KEY
    assert cache.fault is not None
    assert "not open" in cache.fault
    assert [entry["log_level"] for entry in entries] == ["warning"]
    assert metrics.api_key_errors.labels("load")._value.get() == 2
    await state.open()
    with structlog.testing.capture_logs() as entries:
        await cache.refresh()
        await cache.refresh()
    assert (cache.fault, [entry["log_level"] for entry in entries]) == (None, ["info"])


async def test_without_a_database_the_cache_does_not_open(tmp_path: Path, clock: ManualClock, metrics: Metrics) -> None:
    """At start there is nothing that could go on working."""
    cache = KeyCache(StateDatabase(Section(), tmp_path / "state.db"), clock, metrics)
    with pytest.raises(RetryableError):
        await cache.open()
    assert not cache.loaded
    await cache.close()


async def test_last_use_is_written_at_most_once_a_minute(state: StateDatabase, cache: KeyCache, clock: ManualClock) -> None:
    """The first at once, then one a minute, and what is left at the end."""
    await create(state, KEY)
    await cache.open()
    first_ns = clock.now_ns()
    cache.used(KEY.kid)
    await cache.refresh()
    assert await last_used(state) == [first_ns]
    noted = cache._noted_ns[KEY.kid]
    cache._used_ns[KEY.kid] = noted + 59 * 10**9
    await cache._note()
    assert await last_used(state) == [first_ns]
    cache._used_ns[KEY.kid] = noted + 60 * 10**9
    await cache._note()
    assert await last_used(state) == [first_ns + 60 * 10**9]
    cache._used_ns[KEY.kid] = noted + 61 * 10**9
    await cache.close()
    assert await last_used(state) == [first_ns + 61 * 10**9]


async def test_an_earlier_use_never_replaces_a_later_one(state: StateDatabase) -> None:
    """Two daemons share a database."""
    await create(state, KEY)
    for at_ns in (START_NS + 5, START_NS + 3):
        await state.run(lambda connection, at_ns=at_ns: keys.note_use(connection, {KEY.kid: at_ns, "gone": at_ns}))
    assert await last_used(state) == [START_NS + 5]


async def test_a_use_that_cannot_be_written_is_written_later(
    state: StateDatabase, cache: KeyCache, clock: ManualClock, metrics: Metrics
) -> None:
    """It is counted, tried again, and harms nobody."""
    await create(state, KEY)
    await cache.refresh()
    cache.used(KEY.kid)
    await state.close()
    await cache._note()
    assert metrics.api_key_errors.labels("note_use")._value.get() == 1
    await state.open()
    await cache.refresh()
    assert await last_used(state) == [clock.now_ns()]
