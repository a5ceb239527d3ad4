"""A bucket that refuses, is slow, is not there or is down: every request ends, and says in our words what to do."""

import builtins
from collections.abc import Callable
from typing import Any

import pytest
from checkpoint_buckets import KEY_ID, SECRET, answering, bucket, section
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sentinel.core.errors import RetryableError, StartupError
from sentinel.storage import checkpoint_objects
from sentinel.storage.checkpoint_objects import MAX_NAME_BYTES, ObjectCheckpoints
from tools.servers.process import free_port
from tools.servers.s3 import S3

KEY = "kafka/llm.telemetry/0/00000000000000000042-3f2a.ckpt"


def requests(store: ObjectCheckpoints) -> list[Callable[[], object]]:
    """Everything that can be asked of a store."""
    return [lambda: store.put(KEY, b"1"), lambda: store.get(KEY), lambda: store.list("kafka/"), lambda: store.delete(KEY)]


def told(request: Callable[[], object]) -> str:
    """Why a request failed: in our words, without what the server or the client said."""
    with pytest.raises(RetryableError, match=r"checkpoint store s3://") as error:
        request()
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    assert not any(secret in str(error.value) for secret in (SECRET, KEY_ID, "Signature", "AWS4"))
    return str(error.value)


@pytest.mark.parametrize(
    ("status", "cure"),
    [(401, "secret_access_key"), (403, "may read, write, list and delete"), (400, "region"), (503, "tried again"), (429, "again")],
)
def test_a_refusal_names_status_and_cure(status: int, cure: str) -> None:
    """Every request that is refused is retryable and says what to look at; it is asked once, not again and again."""
    with answering() as (endpoint, answers):
        answers.status = status
        for number, request in enumerate(requests(ObjectCheckpoints(section(endpoint))), 1):
            assert f"answered {status}" in (reason := told(request))
            assert cure in reason
            assert answers.asked == number


def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    """`timeout_secs` bounds each request; the reason names it."""
    with answering() as (endpoint, answers):
        answers.status = 0
        for request in requests(ObjectCheckpoints(section(endpoint, timeout_secs=0.2))):
            assert "no answer within 0.2 s" in told(request)


def test_a_server_that_is_down() -> None:
    """Nobody answers: retryable, with the endpoint to look at."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    for request in requests(ObjectCheckpoints(section(endpoint))):
        assert f"nobody answers; see state.checkpoints.endpoint ({endpoint})" in told(request)


def test_a_server_that_comes_back(own_s3: S3) -> None:
    """The same store works again once the server does."""
    settings = bucket(own_s3)
    store = ObjectCheckpoints(settings)
    store.put(KEY, b"1")
    own_s3.kill()
    told(lambda: store.put(KEY, b"2"))
    own_s3.start()
    assert "create the bucket" in told(lambda: store.put(KEY, b"2"))
    own_s3.create_bucket((settings.url or "").split("/")[2])
    store.put(KEY, b"2")
    assert store.get(KEY) == b"2"


def test_a_bucket_that_does_not_exist(s3: S3) -> None:
    """It is no missing key: a typing error must not look like an empty store."""
    store = ObjectCheckpoints(section(s3.endpoint, "s3://there-is-none/of/tests"))
    for request in requests(store):
        assert "create the bucket, or correct state.checkpoints.url" in told(request)


def test_stores_of_one_bucket_are_apart(s3: S3) -> None:
    """A prefix is a place of its own, and what others keep in the bucket is never listed."""
    settings = bucket(s3)
    store = ObjectCheckpoints(settings)
    beside = ObjectCheckpoints(settings.model_copy(update={"url": f"{settings.url}-2"}))
    whole = ObjectCheckpoints(settings.model_copy(update={"url": (settings.url or "").removesuffix("/of/tests")}))
    store.put("a", b"store")
    beside.put("a", b"beside")
    whole.put("a", b"whole")
    assert [each.get("a") for each in (store, beside, whole)] == [b"store", b"beside", b"whole"]
    assert [store.list(""), beside.list(""), whole.list("")] == [["a"], ["a"], ["a", "of/tests-2/a", "of/tests/a"]]


def test_objects_of_others_are_not_listed(s3: S3) -> None:
    """Names that no key has are none of ours."""
    settings = bucket(s3)
    foreign = ObjectCheckpoints(settings)
    for name in ("a=zz", "a=2e", "a%20b", "a b", "=FF"):
        foreign._client.put(foreign._store, f"of/tests/{name}", b"1", use_multipart=False)
    assert ObjectCheckpoints(settings).list("") == []


def test_a_name_too_long_says_what_to_shorten(s3: S3) -> None:
    """S3 takes 1,024 bytes; a longer name is refused before anything is sent."""
    store = ObjectCheckpoints(bucket(s3))
    room = MAX_NAME_BYTES - len("of/tests/")
    store.put("k" * room, b"1")
    assert store.get("k" * room) == b"1"
    with pytest.raises(RetryableError, match=r"more than 1024; shorten the prefix in state\.checkpoints\.url, or ingestion"):
        store.put("k" * (room + 1), b"1")


@given(st.text(max_size=60), st.text(max_size=60))
def test_names_are_plain_and_can_be_read_back(one: str, other: str) -> None:
    """Two keys never have one name; a name holds only what every store of objects takes, and no way up."""
    names = [checkpoint_objects._encoded(key) for key in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    for key, name in zip((one, other), names, strict=True):
        assert checkpoint_objects._decoded(name) == key
        assert name.isascii()
        assert not key or all(part.strip(".") for part in name.split("/"))


def test_without_the_client_the_start_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is imported by those who configured it, and its absence has a cure."""
    imported = builtins.__import__

    def without(name: str, *more: Any) -> object:
        if name == "obstore":
            raise ImportError(name)
        return imported(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StartupError, match=r"pip install llm-sentinel\[s3\]"):
        ObjectCheckpoints(section("http://127.0.0.1:1"))


def test_requests_are_signed_for_the_region_with_the_key() -> None:
    """`region` and `access_key_id` stand in the signature, the secret does not."""
    with answering() as (endpoint, answers):
        told(lambda: ObjectCheckpoints(section(endpoint, region="eu-central-1")).put(KEY, b"1"))
        assert f"Credential={KEY_ID}/" in answers.authorization
        assert "/eu-central-1/s3/" in answers.authorization
        assert SECRET not in answers.authorization


@pytest.mark.parametrize(
    "url",
    [
        "https://bucket/a",
        "s3://",
        "s3://b",
        "s3://key:secret@bucket",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/a?b=c",
        "s3://Bucket",
    ],
)
def test_a_url_that_names_no_bucket_is_refused(url: str) -> None:
    """The prefix becomes part of every object's name, so it is plain; the error does not quote what was given."""
    with pytest.raises(ValidationError) as error:
        section("http://127.0.0.1:1", url)
    assert "is not of the form s3://BUCKET/PREFIX" in str(error.value)
    assert "secret@" not in str(error.value)
