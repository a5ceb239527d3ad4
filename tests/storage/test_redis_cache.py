"""Redis as a shared cache: it helps while it is there, and nothing that it does or says can do harm."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from redis.asyncio import Redis as Client
from store_cached import SETTLED, RecordingQuery, cached, hits, misses, page, telemetry_of

from sentinel.config.loader import load
from sentinel.config.problems import ConfigError
from sentinel.config.schema import Redis
from sentinel.config.secret import Secret
from sentinel.core.errors import StartupError
from sentinel.core.ports import Clock
from sentinel.observability.metrics import Metrics
from sentinel.storage.redis_cache import MAX_ANSWER_BYTES, RedisCache
from sentinel.storage.redis_link import FAILURES_IN_A_ROW, PAUSE_S, RedisLink
from sentinel.testing.fakes import ManualClock
from tools.servers.process import free_port
from tools.servers.redis import Redis as Server

SECRET = b"a secret of all replicas"
CANCELLED = 10_000


@asynccontextmanager
async def linked(url: str, clock: Clock | None = None, metrics: Metrics | None = None, **keys: Any) -> AsyncIterator[RedisLink]:
    """An open link; commands may take long here, so that a busy machine changes no outcome."""
    section = Redis(url=url, **{"timeout_secs": 10.0, "key_prefix": f"test-{uuid4().hex}:"} | keys)
    link = RedisLink(section, clock or ManualClock(), metrics or Metrics())
    await link.open()
    try:
        yield link
    finally:
        await link.close()
        await link.close()


def shared(link: RedisLink, metrics: Metrics | None = None, *, store: str = "influx", secret: bytes = SECRET, **keys: Any) -> RedisCache:
    """A shared cache over a link."""
    section = link._section.model_copy(update=keys)
    return RedisCache(link, section, store, secret, metrics or Metrics())


def errors(metrics: Metrics, kind: str) -> float:
    """How many were counted."""
    return metrics.registry.get_sample_value("sentinel_cache_errors_total", {"kind": kind}) or 0


async def only_key(client: "Client") -> bytes:
    """The one key that is there."""
    (name,) = await client.keys("*")
    return bytes(name)


async def ping(client: "Client") -> bool:
    """Whether it answers."""
    return bool(await client.ping())


async def test_replicas_share_an_answer(redis: Server) -> None:
    """What one replica asked the store, another gets from Redis; both count it."""
    first_store, second_store, metrics = RecordingQuery(), RecordingQuery(), Metrics()
    async with linked(redis.url) as link:
        first = cached(first_store, ManualClock(), shared=shared(link))
        second = cached(second_store, ManualClock(), metrics=metrics, shared=shared(link))
        answer = await first.telemetry(telemetry_of(SETTLED))
        await asyncio.wait(first._sharing)
        assert await second.telemetry(telemetry_of(SETTLED)) == answer
        assert await second.telemetry(telemetry_of(SETTLED)) == answer
        assert (len(first_store.asked), len(second_store.asked)) == (1, 0)
        assert (hits(metrics, "redis"), hits(metrics, "memory"), misses(metrics, "memory")) == (1, 1, 1)
        await second.anomaly("there")
        assert misses(metrics, "redis") == 1
        await second.close()


async def test_an_answer_gets_no_younger_by_going_through_redis(redis: Server) -> None:
    """A replica keeps a shared answer for what is left of its life, not for a whole one."""
    async with linked(redis.url) as link:
        await shared(link).put(b"question", b"answer", 300.0)
        found = await shared(link).get(b"question")
        assert found is not None
        assert 0 < found.left_s <= 300.0
    store, clock = RecordingQuery(), ManualClock()
    async with linked(redis.url) as link:
        half_gone = shared(link)
        first = cached(RecordingQuery(), clock, shared=half_gone, tti_secs=1_000.0)
        await first.telemetry(telemetry_of(SETTLED))
        await asyncio.wait(first._sharing)
        name = half_gone._name(next(iter(first._answers._kept)))
        await link.run(lambda client: client.pexpire(name, 20_000), None)
        second = cached(store, clock, shared=half_gone, tti_secs=1_000.0)
        await second.telemetry(telemetry_of(SETTLED))
        clock.advance(21.0)
        await link.run(lambda client: client.delete(name), None)
        await second.telemetry(telemetry_of(SETTLED))
        assert len(store.asked) == 1
        await second.close()


@pytest.mark.parametrize(("other", "same"), [({}, True), ({"store": "another"}, False), ({"secret": b"another secret here"}, False)])
async def test_only_replicas_of_one_store_with_one_secret_share(redis: Server, other: dict[str, Any], same: bool) -> None:
    """Answers of another store, or marked with another key, are not taken."""
    async with linked(redis.url) as link:
        await shared(link).put(b"question", b"answer", 60.0)
        assert (await shared(link, **other).get(b"question") is not None) == same


async def test_key_prefix_begins_every_key(redis: Server) -> None:
    """Everything we write can be told from what others write, and given to a user of its own."""
    async with linked(redis.url, key_prefix="one:") as one, linked(redis.url, key_prefix="two:") as two:
        await shared(one).put(b"question", b"answer", 60.0)
        assert await shared(two).get(b"question") is None
        assert await shared(one).get(b"question") is not None
        names = await one.run(lambda client: client.keys("one:*"), [])
        assert len(names) == 1
        assert b"question" not in names[0]
        await one.run(lambda client: client.delete(*names), None)


@pytest.mark.parametrize("seconds", [5.0, 50.0])
async def test_ttl_secs_limits_the_age(own_redis: Server, seconds: float) -> None:
    """Every key has a time to live: the answer's own, at most `ttl_secs`."""
    async with linked(own_redis.url, ttl_secs=seconds) as link:
        await shared(link).put(b"long", b"answer", 1_000.0)
        left_ms = await link.run(lambda client: client.pttl("nothing"), None)
        assert left_ms == -2
        left_ms = await link.run(_pttl_of_only_key, None)
        assert left_ms is not None
        assert (seconds - 5.0) * 1_000 < left_ms <= seconds * 1_000
        await link.run(lambda client: client.flushall(), None)
        await shared(link).put(b"short", b"answer", 2.0)
        assert 0 < (await link.run(_pttl_of_only_key, 0) or 0) <= 2_000
        await shared(link).put(b"none", b"answer", 0.0)
        assert await link.run(lambda client: client.dbsize(), None) == 1


async def _pttl_of_only_key(client: "Client") -> int:
    return int(await client.pttl(await only_key(client)))


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda _value: b"\xff\x00 not ours",
    "short": lambda value: value[:7],
    "cut": lambda value: value[:-1],
    "longer": lambda value: value + b"\x00",
    "one bit": lambda value: value[:40] + bytes([value[40] ^ 1]) + value[41:],
    "huge": lambda value: value + b"x" * 2 * MAX_ANSWER_BYTES,
}


@pytest.mark.parametrize("kind", WRONG)
async def test_a_wrong_value_is_no_answer(own_redis: Server, kind: str) -> None:
    """Whatever stands under our key, the store is asked, its answer is given, and the fault is counted."""
    store, metrics = RecordingQuery(), Metrics()
    async with linked(own_redis.url) as link:
        first = cached(RecordingQuery(), ManualClock(), shared=shared(link))
        answer = await first.telemetry(telemetry_of(SETTLED))
        await asyncio.wait(first._sharing)
        await link.run(lambda client: _replace(client, WRONG[kind]), None)
        query = cached(store, ManualClock(), metrics=metrics, shared=shared(link, metrics))
        assert await query.telemetry(telemetry_of(SETTLED)) == answer
        assert len(store.asked) == 1
        assert errors(metrics, "bad_value") == 1
        await query.close()


async def _replace(client: "Client", change: Callable[[bytes], bytes]) -> None:
    name = await only_key(client)
    value = await client.get(name)
    assert isinstance(value, bytes)
    await client.set(name, change(value), px=60_000)


async def test_an_answer_of_another_question_is_no_answer(own_redis: Server) -> None:
    """A value moved to another key, or left there for ever, is not taken."""
    metrics = Metrics()
    async with linked(own_redis.url) as link:
        cache = shared(link, metrics)
        await cache.put(b"question", b"answer", 60.0)
        await link.run(lambda client: _move(client, cache._name(b"other")), None)
        assert await cache.get(b"other") is None
        await cache.put(b"question", b"answer", 60.0)
        await link.run(lambda client: client.persist(cache._name(b"question")), None)
        assert await cache.get(b"question") is None
        assert errors(metrics, "bad_value") == 2


async def _move(client: "Client", name: str) -> None:
    await client.rename(await only_key(client), name)


async def test_a_well_marked_answer_of_another_shape_is_no_answer(redis: Server) -> None:
    """Bytes that another version of ours wrote, and that are no answer here, are a miss."""
    store, metrics = RecordingQuery(), Metrics()
    async with linked(redis.url) as link:
        query = cached(store, ManualClock(), metrics=metrics, shared=shared(link))
        await query.telemetry(telemetry_of(SETTLED))
        await asyncio.wait(query._sharing)
        question = next(iter(query._answers._kept))
        for bad in (b"", b"\x93\x01\x02", b"\x91" * 100_000, b"\x82\xa5items\x91\x01"):
            await shared(link).put(question, bad, 60.0)
            fresh = cached(store, ManualClock(), metrics=metrics, shared=shared(link))
            assert (await fresh.telemetry(telemetry_of(SETTLED))).items
            await asyncio.wait(fresh._sharing)
        assert len(store.asked) == 5
        assert errors(metrics, "bad_value") == 4


async def test_a_key_of_another_type_is_no_answer(own_redis: Server) -> None:
    """A list under our key is a refusal, counted, and no reason to leave Redis alone."""
    metrics = Metrics()
    async with linked(own_redis.url, metrics=metrics) as link:
        cache = shared(link, metrics)
        await link.run(lambda client: client.rpush(cache._name(b"question"), "x"), None)
        for _ in range(FAILURES_IN_A_ROW + 1):
            assert await cache.get(b"question") is None
        assert errors(metrics, "refused") == FAILURES_IN_A_ROW + 1
        await cache.put(b"question", b"answer", 60.0)
        assert await cache.get(b"question") is not None


async def test_an_answer_that_is_too_large_is_not_shared(redis: Server) -> None:
    """Nothing goes over the network that would take long."""
    async with linked(redis.url) as link:
        for size, there in ((MAX_ANSWER_BYTES, True), (MAX_ANSWER_BYTES + 1, False)):
            await shared(link).put(b"size %d" % size, b"x" * size, 60.0)
            assert (await shared(link).get(b"size %d" % size) is not None) == there


async def test_losing_redis_loses_nothing(own_redis: Server) -> None:
    """Killed, every question is answered by the store; started again, empty, sharing goes on."""
    store, clock, metrics = RecordingQuery(), ManualClock(), Metrics()
    async with linked(own_redis.url, clock, metrics) as link:
        query = cached(store, clock, shared=shared(link))
        await query.anomaly("there 0")
        assert metrics.registry.get_sample_value("sentinel_redis_up") == 1
        await asyncio.wait(query._sharing)
        await asyncio.to_thread(own_redis.kill)
        for number in range(10):
            assert await query.anomaly(f"there {number}") is not None
        assert len(store.asked) == 10
        assert metrics.registry.get_sample_value("sentinel_redis_up") == 0
        assert errors(metrics, "failed") == FAILURES_IN_A_ROW
        await asyncio.to_thread(own_redis.start)
        clock.advance(PAUSE_S)
        await query.anomaly("there 10")
        await asyncio.wait(query._sharing)
        assert metrics.registry.get_sample_value("sentinel_redis_up") == 1
        assert await link.run(lambda client: client.dbsize(), 0) == 1


async def test_a_restart_between_two_calls_is_not_even_a_miss(own_redis: Server) -> None:
    """A connection that died while idle is replaced within the call."""
    metrics = Metrics()
    async with linked(own_redis.url, metrics=metrics) as link:
        assert await link.run(ping, otherwise=False)
        await asyncio.to_thread(own_redis.kill)
        await asyncio.to_thread(own_redis.start)
        assert await link.run(ping, otherwise=False)
        assert errors(metrics, "failed") == 0


async def test_flushall_costs_a_question(own_redis: Server) -> None:
    """All data gone, everything is as at the start."""
    async with linked(own_redis.url) as link:
        await shared(link).put(b"question", b"answer", 60.0)
        await link.run(lambda client: client.flushall(), None)
        assert await shared(link).get(b"question") is None


async def test_a_redis_that_is_down_is_left_alone(own_redis: Server) -> None:
    """After some failures in a row no call is made for a while; then one tries, and only one."""
    clock, metrics = ManualClock(), Metrics()
    own_redis.stop()
    async with linked(own_redis.url, clock, metrics) as link:
        with structlog.testing.capture_logs() as logged:
            for _ in range(20):
                assert not await link.run(ping, otherwise=False)
        assert errors(metrics, "failed") == FAILURES_IN_A_ROW
        assert [line["event"] for line in logged] == ["redis does not answer, going on without it"]
        clock.advance(PAUSE_S)
        await asyncio.gather(*(link.run(ping, otherwise=False) for _ in range(20)))
        assert errors(metrics, "failed") == FAILURES_IN_A_ROW + 1


async def test_timeout_secs_bounds_a_call(own_redis: Server) -> None:
    """A Redis that hangs is given up after `timeout_secs`; with enough time, its answer is waited for."""
    async with linked(own_redis.url, timeout_secs=10.0) as patient, linked(own_redis.url, timeout_secs=0.05) as hasty:
        for link in (patient, hasty):
            assert await link.run(ping, otherwise=False) or link is hasty
        os.killpg(own_redis._process.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(patient.run(ping, otherwise=False))
        assert not await hasty.run(ping, otherwise=False)
        assert not waiting.done()
        os.killpg(own_redis._process.pid, signal.SIGCONT)
        assert await waiting


async def test_cancelled_commands_never_get_each_others_replies(redis: Server) -> None:
    """After ten thousand commands cancelled at any moment, every answer belongs to its question and no connection is lost."""
    dice = random.Random(7)  # noqa: S311  the same moments every time
    metrics = Metrics()
    async with linked(redis.url, metrics=metrics) as link:
        cache = shared(link, metrics)
        for number in range(50):
            await cache.put(b"%d" % number, b"answer %d" % number, 600.0)

        async def ask(number: int) -> None:
            raw = await link.run(lambda client: client.echo(f"{number}"), None)
            assert raw == b"%d" % number
            found = await cache.get(b"%d" % number)
            assert found is not None
            assert found.encoded == b"answer %d" % number

        cancelled = 0
        while cancelled < CANCELLED:
            asking = [asyncio.create_task(ask(dice.randrange(50))) for _ in range(40)]
            for task in asking:
                for _ in range(dice.randrange(3)):
                    await asyncio.sleep(0)
                if dice.random() < 0.8:
                    task.cancel()
            results = await asyncio.gather(*asking, return_exceptions=True)
            assert [result for result in results if not isinstance(result, asyncio.CancelledError | None)] == []
            cancelled += sum(isinstance(result, asyncio.CancelledError) for result in results)
        await asyncio.gather(*(ask(number) for number in range(50)))
        assert errors(metrics, "bad_value") == errors(metrics, "failed") == 0


async def test_the_password_is_sent_and_never_told(own_redis: Server) -> None:
    """With the right password it works, with a wrong one it is like no Redis; neither is in logs, texts or the section."""
    async with linked(own_redis.url) as link:
        await link.run(lambda client: client.config_set("requirepass", "hunter2-of-redis"), None)
    async with linked(own_redis.url, password=Secret("hunter2-of-redis")) as link:
        assert await link.run(ping, otherwise=False)
        assert "hunter2" not in repr(link._section)
    metrics = Metrics()
    with structlog.testing.capture_logs() as logged:
        for password in (Secret("hunter2-of-others"), None):
            async with linked(own_redis.url, metrics=metrics, password=password) as link:
                for _ in range(FAILURES_IN_A_ROW):
                    assert not await link.run(ping, otherwise=False)
    assert len(logged) == 2
    assert "hunter2" not in str(logged)


async def test_username_chooses_the_user(own_redis: Server) -> None:
    """A user that may only touch our prefix is enough."""
    async with linked(own_redis.url) as link:
        rules = "on >secret ~ours:* -@all +get +getrange +set +pttl +mget +evalsha +eval +script|load"
        assert await link.run(lambda client: client.execute_command("ACL SETUSER", "sentinel", *rules.split()), None)
    user = {"username": "sentinel", "password": Secret("secret")}
    async with linked(own_redis.url, key_prefix="ours:", **user) as link:
        await shared(link).put(b"question", b"answer", 60.0)
        assert await shared(link).get(b"question") is not None
    async with linked(own_redis.url, key_prefix="theirs:", **user) as link:
        await shared(link).put(b"question", b"answer", 60.0)
        assert await shared(link).get(b"question") is None


async def test_the_url_names_the_database(own_redis: Server) -> None:
    """The path of the URL is the number of the database."""
    async with linked(own_redis.url) as first, linked(f"{own_redis.url}/3") as third:
        await shared(third).put(b"question", b"answer", 60.0)
        assert await first.run(lambda client: client.dbsize(), -1) == 0
        assert await third.run(lambda client: client.dbsize(), -1) == 1


def certificates(directory: Path, name: str, subject: str) -> tuple[Path, Path, Path]:
    """An authority of its own, and a certificate and key for a host."""
    place = directory / name
    place.mkdir()
    authority, authority_key, certificate, key = (place / file for file in ("ca.pem", "ca.key", "cert.pem", "cert.key"))
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    run_openssl("req", "-x509", *new_key, *usage, "-keyout", authority_key, "-out", authority, "-subj", f"/CN={name} authority")
    signed_by = ["-CA", authority, "-CAkey", authority_key]
    names = ["-addext", f"subjectAltName={subject}", "-addext", "basicConstraints=critical,CA:FALSE"]
    run_openssl("req", "-x509", *new_key, *signed_by, *names, "-keyout", key, "-out", certificate, "-subj", "/CN=redis")
    return authority, certificate, key


def run_openssl(*arguments: str | Path) -> None:
    """Run it quietly."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)  # noqa: S607  wherever it is


async def test_tls_is_verified(own_redis: Server, tmp_path: Path) -> None:
    """With rediss:// only a certificate of a trusted authority for the right host is accepted."""
    authority, certificate, key = certificates(tmp_path, "good", "IP:127.0.0.1")
    other_authority, other_certificate, other_key = certificates(tmp_path, "other", "DNS:redis.example.com")
    port = free_port()
    await speak_tls(own_redis, port, certificate, key)
    url = f"rediss://127.0.0.1:{port}"
    async with linked(url, ca_file=str(authority)) as link:
        await shared(link).put(b"question", b"answer", 60.0)
        assert await shared(link).get(b"question") is not None
    for untrusted in ({}, {"ca_file": str(other_authority)}):
        async with linked(url, **untrusted) as link:
            assert not await link.run(ping, otherwise=False)
    async with linked(f"rediss://127.0.0.1:{own_redis.port}", ca_file=str(authority), timeout_secs=0.5) as link:  # it speaks no TLS there
        assert not await link.run(ping, otherwise=False)
    await speak_tls(own_redis, port, other_certificate, other_key)
    async with linked(url, ca_file=str(other_authority)) as link:
        assert not await link.run(ping, otherwise=False)


async def speak_tls(server: Server, port: int, certificate: Path, key: Path) -> None:
    """Let the server speak TLS as well, at another port, with this certificate."""
    async with linked(server.url) as link:
        settings = {"tls-cert-file": str(certificate), "tls-key-file": str(key), "tls-auth-clients": "no", "tls-port": str(port)}
        pairs = [text for pair in settings.items() for text in pair]
        assert await link.run(lambda client: client.execute_command("CONFIG SET", *pairs), None)


async def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The start fails with the file's name, not the first call."""
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        link = RedisLink(Redis(url="rediss://localhost", ca_file=str(tmp_path / name)), ManualClock(), Metrics())
        with pytest.raises(StartupError, match=rf"storage\.redis\.ca_file .*{name}"):
            await link.open()


async def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the start fails and says what to install; until opened, nothing is asked of Redis."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    link = RedisLink(Redis(), ManualClock(), Metrics())
    assert not await link.run(ping, otherwise=False)
    with pytest.raises(StartupError, match=r"pip install llm-sentinel\[redis\]"):
        await link.open()


def test_the_client_is_not_imported_before_it_is_needed() -> None:
    """Who does not use Redis does not need its client."""
    program = "import sys; import sentinel.storage.redis_cache, sentinel.storage.shared_ids; assert 'redis' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("url", ["http://h", "redis://h/x", "redis://h?ssl_cert_reqs=none", "rediss://h/0#f", "unix:///tmp/redis.sock"])
def test_a_url_with_more_than_a_place_is_refused(tmp_path: Path, url: str) -> None:
    """Nothing in the URL is silently ignored, and nothing in it can switch verification off."""
    file = tmp_path / "sentinel.yaml"
    file.write_text(f"storage: {{redis: {{url: '{url}'}}}}\n")
    with pytest.raises(ConfigError, match=r"storage\.redis\.url"):
        load(file, {})
    file.write_text("storage: {redis: {url: 'rediss://redis.example.com:6380/2', username: sentinel, dedupe: true, dedupe_secs: 60}}\n")
    section = load(file, {}).config.storage.redis
    assert section == Redis(url="rediss://redis.example.com:6380/2", username="sentinel", dedupe=True, dedupe_secs=60.0)


async def test_a_slow_redis_does_not_hold_answers_back(own_redis: Server) -> None:
    """Sharing an answer is nobody's business but ours: who asked has it already."""
    store = RecordingQuery()
    store.answer = page("hello")
    async with linked(own_redis.url, timeout_secs=0.05) as link:
        query = cached(store, ManualClock(), shared=shared(link))
        os.killpg(own_redis._process.pid, signal.SIGSTOP)
        assert (await query.telemetry(telemetry_of(SETTLED))).items
        os.killpg(own_redis._process.pid, signal.SIGCONT)
        await query.close()
