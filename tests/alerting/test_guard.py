"""The guard where sockets are made: a corpus of hostile URLs against a real client, with a listener that must never be reached."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from sentinel.alerting.addresses import networks
from sentinel.alerting.guard import AddressGuard, RefusedAddressError
from sentinel.alerting.webhook import Webhook
from sentinel.app.clock import SystemClock
from sentinel.config.sections_alerting import Webhook as WebhookConfig
from sentinel.core.errors import RetryableError
from sentinel.observability.metrics import Metrics

ANY = "0.0.0.0"  # noqa: S104  an address to refuse, and one for a listener that hears all

LOOPBACK_HOSTS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.",
    "127.000.000.001",
    "0", ANY, "0x0", "localhost", "LOCALHOST", "localhost.", "LocalHost.", "127.127.127.127", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]", "①②⑦.0.0.1", "１２７.０.０.１", "127。0。0。1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "%31%32%37.0.0.1", "127.0.0.1%00.example.com", "[::1%25lo]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001::80ff:fffe]",
    "ip6-localhost", "localhost.localdomain", "0300.0250.1.1", "169.254.169.254", "[fe80::1%25lo]", "[ff02::1]",
    "224.0.0.1", "255.255.255.255",
]  # fmt: skip
"""Ways to say this machine, or somewhere near, of which the C library understands more than a validator would."""


class Names(AbstractResolver):
    """A resolver of our own: each name gives the next of its answers, the last one for ever."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers = answers
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """The next answer, of whatever family."""
        del family
        self.asked += 1
        answers = self.answers[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET6 if ":" in address else socket.AF_INET, proto=0, flags=0
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


class Canary:
    """Listens on this machine, on one port of both families, and counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count, and answer a request with success."""
        self.visits += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    """A listener on all loopback addresses."""
    canary = Canary()
    server = await asyncio.start_server(canary.came, ANY, 0)
    canary.port = server.sockets[0].getsockname()[1]
    six = None
    with contextlib.suppress(OSError):
        six = await asyncio.start_server(canary.came, "::", canary.port, family=socket.AF_INET6)
    yield canary
    for listener in filter(None, (server, six)):
        listener.close()


@contextlib.asynccontextmanager
async def webhook(url: str, resolver: AbstractResolver | None = None, **settings: object) -> AsyncIterator[Webhook]:
    """An open webhook."""
    config = WebhookConfig(**({"enabled": True, "url": url, "timeout_secs": 5.0} | settings))
    hook = Webhook(config, SystemClock(), Metrics(), resolver)
    await hook.open()
    try:
        yield hook
    finally:
        await hook.close()


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address a socket was made for."""
    made: list[str] = []
    real = AddressGuard.__call__

    def tapped(self: AddressGuard, addr_info: aiohttp.AddrInfoType) -> socket.socket:
        made_socket = real(self, addr_info)
        made.append(str(addr_info[4][0]))
        return made_socket

    monkeypatch.setattr(AddressGuard, "__call__", tapped)
    return made


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
async def test_no_way_to_write_this_machine_gets_through(host: str, scheme: str, canary: Canary, connects: list[str]) -> None:
    """However the host is spelled, with either scheme: the sending fails, no socket is made, and nobody is reached."""
    async with webhook(f"{scheme}://{host}:{canary.port}/hook") as hook:
        with pytest.raises(RetryableError):
            await hook.post("m", b"{}")
    assert canary.visits == 0
    assert connects == []


async def test_the_listener_can_be_reached_when_it_is_allowed(canary: Canary) -> None:
    """The same URL with the network allowed arrives: the corpus above fails because of the guard alone."""
    async with webhook(f"http://127.0.0.1:{canary.port}/", allowed_networks=["127.0.0.0/8"]) as hook:
        assert (await hook.post("m", b"{}")).status == 200
    assert canary.visits == 1


@pytest.mark.parametrize("network", ["10.0.0.0/8", "127.0.0.2/32", "::1/128"])
async def test_another_network_allows_nothing_here(canary: Canary, network: str) -> None:
    """Allowing one network opens no other."""
    async with webhook(f"http://127.0.0.1:{canary.port}/", allowed_networks=[network]) as hook:
        with pytest.raises(RetryableError, match="allowed_networks"):
            await hook.post("m", b"{}")
    assert canary.visits == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["10.0.0.1", "127.0.0.1"],
        ["127.0.0.1", "::1"],
        ["64:ff9b::7f00:1"],
        ["169.254.169.254"],
    ],
)
async def test_a_name_that_means_this_machine_is_refused(addresses: list[str], canary: Canary, connects: list[str]) -> None:
    """What the resolver answers is judged, every address of it."""
    async with webhook(f"http://hook.example:{canary.port}/", Names({"hook.example": [addresses]})) as hook:
        with pytest.raises(RetryableError, match=r"hook\.example must not be sent to"):
            await hook.post("m", b"{}")
    assert (canary.visits, connects) == (0, [])


async def test_a_name_that_changes_its_meaning_gains_nothing(canary: Canary, connects: list[str]) -> None:
    """DNS rebinding: 1,000 requests to a name that turns from an allowed address to a forbidden one and back; never the forbidden one."""
    forbidden = ["127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1"]
    answers = [
        [allowed, bad] if flip % 2 else [bad] for flip, (allowed, bad) in enumerate(itertools.product(["127.0.0.9"] * 250, forbidden))
    ]
    names = Names({"flip.example": answers})
    async with webhook(f"http://flip.example:{canary.port}/", names, allowed_networks=["127.0.0.9/32"]) as hook:
        delivered = 0
        for _ in range(1_000):
            with contextlib.suppress(RetryableError):
                delivered += (await hook.post("m", b"{}")).status == 200
    assert names.asked == 1_000
    assert set(connects) == {"127.0.0.9"}
    assert delivered == len(connects) == canary.visits == 500


async def test_a_kept_connection_stays_with_the_address_that_was_checked() -> None:
    """Keep-alive uses the connection whose address was judged; when it is gone, the next address is judged again."""
    served: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        served.append(request.transport.get_extra_info("sockname")[0])
        return web.Response()

    server = web.Server(answer)
    listener = await asyncio.get_running_loop().create_server(server, ANY, 0)
    port = listener.sockets[0].getsockname()[1]
    names = Names({"flip.example": [["127.0.0.9"], ["127.0.0.1"]]})
    async with webhook(f"http://flip.example:{port}/", names, allowed_networks=["127.0.0.9/32"]) as hook:
        for _ in range(3):
            assert (await hook.post("m", b"{}")).status == 200
        assert names.asked == 1
        await server.shutdown(0.1)
        await asyncio.sleep(0)
        for _ in range(2):
            with pytest.raises(RetryableError):
                await hook.post("m", b"{}")
        assert names.asked == 3
    listener.close()
    assert set(served) == {"127.0.0.9"}


def test_plain_http_goes_to_allowed_networks_only() -> None:
    """A public address over http:// is refused with the cure; over https:// it is fine."""
    with pytest.raises(RefusedAddressError, match="use https"):
        AddressGuard((), encrypted=False).check("93.184.215.14")
    AddressGuard((), encrypted=True).check("93.184.215.14")
    AddressGuard(networks(["93.184.215.0/24"]), encrypted=False).check("93.184.215.14")


def test_ten_thousand_hostile_addresses_get_no_socket() -> None:
    """Every special range, in every form it can be carried in: no socket is made."""
    guard = AddressGuard((), encrypted=True)
    made = 0
    for number in range(10_000):
        last = number % 251
        host = [
            f"127.0.{number % 256}.{last}", f"10.{number % 256}.0.{last}", f"192.168.{number % 256}.{last}",
            f"172.{16 + number % 16}.0.{last}",
            f"169.254.{number % 256}.{last}", f"100.{64 + number % 64}.0.{last}", f"::ffff:127.0.0.{last}", f"64:ff9b::10.0.0.{last}",
            f"2002:7f00:{number:x}::", f"2001:0:{number:x}::{last:x}", f"fd00::{number:x}", f"fe80::{number:x}",
            f"{224 + number % 16}.0.0.{last}",
        ][number % 13]  # fmt: skip
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with contextlib.suppress(RefusedAddressError):
            guard((family, socket.SOCK_STREAM, 0, "", (host, 443))).close()
            made += 1
    assert made == 0


def test_five_hundred_public_addresses_get_one() -> None:
    """None is refused that should not be."""
    guard = AddressGuard((), encrypted=True)
    hosts = [f"{first}.{number % 256}.7.9" for number, first in enumerate([1, 8, 23, 34, 52, 104, 151, 185, 203, 216] * 25)]
    hosts += [
        f"{prefix}:{number:x}::1" for number, prefix in enumerate(["2606:4700", "2a00:1450", "2001:4860", "2600:1f18", "2400:cb00"] * 50)
    ]
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        guard((family, socket.SOCK_STREAM, 0, "", (host, 443))).close()
    assert len(hosts) == 500
