"""What every checkpoint store must do: one check a promise, for any implementation of `CheckpointStore`.

A test module runs them all over its store:

    @pytest.mark.parametrize("check", checkpoint_suite.CHECKS, ids=lambda check: check.__name__)
    def test_store(check, tmp_path):
        check(lambda: DirectoryCheckpoints(tmp_path))

Each call of the factory gives a store as another process would have it, over the same, at first empty, place.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from sentinel.core.errors import RetryableError
from sentinel.core.ports import CheckpointStore
from sentinel.testing.expect import expect

T = TypeVar("T")
Factory = Callable[[], CheckpointStore]
Check = Callable[[Factory], None]

KEY: Final = "llm.telemetry/0/00000000000000000042-3f2a.ckpt"
HOSTILE: Final = (
    "../../etc/passwd",
    "/etc/passwd",
    "a//b",
    "a/",
    "a/./b",
    "a/../b",
    ".",
    "..",
    ".hidden",
    "a b+c%2F=2F",
    "a?b#c&d",
    "a\\b",
    "line\nbreak\rand\x00nul\x7f",
    "topic with \u00fcml\u00e4uts \U0001f512",
    "lone \ud800 surrogate",
    "con.blob",
    "a.blob/b.blob",
    "~",
    "*",
    "'\"<>&;`$(id)",
    "x" * 249 + "/0/" + "0" * 60,
)
BIG_BYTES: Final = 20_000_000
TRIES: Final = 20


def check_a_blob_is_read_back(make: Factory) -> None:
    """What was put is got, by this process and the next, bit for bit; a blob may be empty."""
    blob = bytes(range(256)) * 3
    store = make()
    store.put(KEY, blob)
    store.put("empty", b"")
    expect("blob", store.get(KEY), blob)
    expect("blob in another process", make().get(KEY), blob)
    expect("empty blob", make().get("empty"), b"")


def check_a_missing_key_is_none(make: Factory) -> None:
    """Nothing under a key, or in the whole place, is no error; deleting it neither, twice neither."""
    store = make()
    expect("keys at first", list(store.list("")), [])
    expect("missing", store.get(KEY), None)
    store.delete(KEY)
    store.put(KEY, b"1")
    store.delete(KEY)
    store.delete(KEY)
    expect("after delete", store.get(KEY), None)
    expect("keys after delete", list(store.list("")), [])


def check_a_second_put_replaces(make: Factory) -> None:
    """The later blob of a key counts, whoever put it, also a shorter one."""
    make().put(KEY, b"first and longer")
    make().put(KEY, b"second")
    expect("blob", make().get(KEY), b"second")
    expect("keys", list(make().list("")), [KEY])


def check_keys_are_listed_by_prefix(make: Factory) -> None:
    """A prefix is a beginning of the key, wherever it ends; keys come sorted; more than one page of them come all."""
    store = make()
    keys = sorted(["t/1/a", "t/1/b", "t/10/a", "t/2/a", "u/1/a", "t"] + [f"many/{number:05d}" for number in range(1_050)])
    with ThreadPoolExecutor(8) as together:
        list(together.map(lambda key: make().put(key, b"1"), keys))
    for prefix in ("t/1/", "t/1", "t/", "t", "u/1/a", "nobody/", "many/0104", "many/"):
        expect(f"keys of {prefix!r}", list(store.list(prefix)), [key for key in keys if key.startswith(prefix)])


def check_hostile_keys_stay_apart(make: Factory) -> None:
    """No key leaves its place or meets another, whatever stands in it: keys hold names of topics and groups."""
    store = make()
    for key in HOSTILE:
        store.put(key, key.encode(errors="surrogatepass"))
    for key in HOSTILE:
        expect(f"blob of {key!r}", store.get(key), key.encode(errors="surrogatepass"))
        expect(f"keys of {key!r}", list(store.list(key)), sorted(other for other in HOSTILE if other.startswith(key)))
    expect("keys", list(store.list("")), sorted(HOSTILE))
    for key in HOSTILE:
        store.delete(key)
    expect("keys after delete", list(store.list("")), [])


def check_an_empty_key_is_refused(make: Factory) -> None:
    """A blob without a name could never be listed."""
    try:
        make().put("", b"1")
    except ValueError:
        return
    raise AssertionError("a put without a key was taken")


def check_a_big_blob_is_whole(make: Factory) -> None:
    """Twenty megabytes come back as they were."""
    blob = (b"0123456789abcdef" * (BIG_BYTES // 16))[:BIG_BYTES]
    make().put(KEY, blob)
    expect("big blob is the same", make().get(KEY) == blob, wanted=True)


def check_several_put_and_delete_at_once(make: Factory) -> None:
    """Processes that put, list and delete in one place do not disturb each other: a blob is whole or not there."""

    def work(process: int) -> list[str]:
        store, wrong = make(), []
        blob = bytes([process]) * 50_000
        for turn in range(10):
            _at_last(partial(store.put, "shared", blob))
            _at_last(partial(store.put, f"own/{process}/{turn}", blob))
            found = _at_last(partial(store.get, "shared"))
            if found is None or len(found) != len(blob) or len(set(found)) != 1:
                wrong.append(f"process {process} read {found if found is None else len(found)}")
            for key in _at_last(partial(store.list, "own/")):
                if not key.endswith(str(turn)):
                    _at_last(partial(store.delete, key))
        return wrong

    with ThreadPoolExecutor(6) as processes:
        found = [wrong for wrongs in processes.map(work, range(6)) for wrong in wrongs]
    expect("blobs that were not whole", found, [])
    expect("nothing unfinished is listed", all(key.startswith(("own/", "shared")) for key in make().list("")), wanted=True)


def _at_last(ask: Callable[[], T]) -> T:
    """The answer, of a store that is busy for a moment too."""
    for _ in range(TRIES):
        try:
            return ask()
        except RetryableError:
            continue
    return ask()


CHECKS: Final[tuple[Check, ...]] = (
    check_a_blob_is_read_back,
    check_a_missing_key_is_none,
    check_a_second_put_replaces,
    check_keys_are_listed_by_prefix,
    check_hostile_keys_stay_apart,
    check_an_empty_key_is_refused,
    check_a_big_blob_is_whole,
    check_several_put_and_delete_at_once,
)
