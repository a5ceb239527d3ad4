"""TLS on the API's own port, with real certificates made for the test."""

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from api_client import Client, Started, running
from key_ring import KeyRing

from sentinel.app.daemon import Daemon
from sentinel.config.schema import Api, Config
from sentinel.core.errors import StartupError

Pair = tuple[str, str]


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[str], Pair]:
    """Makes a certificate for localhost and its key."""

    def make(name: str) -> Pair:
        cert, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        _openssl("req", *kind, *subject, "-keyout", str(key), "-out", str(cert))
        return str(cert), str(key)

    return make


def _openssl(*args: str) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True)  # noqa: S607  wherever the system has it


def api(pair: Pair) -> Api:
    """The section with this pair."""
    return Api(bind_addr="127.0.0.1:0", require_keys=True, tls_cert_file=pair[0], tls_key_file=pair[1])


async def test_the_port_speaks_tls_and_nothing_else(start: Started, ring: KeyRing, certificate: Callable[[str], Pair]) -> None:
    """A client that trusts the certificate is answered, one that does not turns away, plain HTTP gets nothing."""
    pair = certificate("server")
    client = await start(api=api(pair), prepare=ring.under)
    trusting = ssl.create_default_context(cafile=pair[0])
    plain = client.url
    client.url = plain.replace("http://", "https://")
    answer = await client.get("/api/v1/status", headers=ring.given("viewer"), ssl=trusting)
    assert (answer.status, answer.json["version"] != "") == (200, True)
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await client.get("/api/v1/status", headers=ring.given("viewer"))
    client.url = plain
    with pytest.raises(aiohttp.ClientError):
        await client.get("/health/live")


async def test_old_versions_of_tls_are_refused(start: Started, certificate: Callable[[str], Pair]) -> None:
    """TLS 1.1 is not spoken, 1.2 is."""
    pair = certificate("server")
    client = await start(api=api(pair))
    client.url = client.url.replace("http://", "https://")
    new = ssl.create_default_context(cafile=pair[0])
    new.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await client.get("/health/live", ssl=new)).status == 200
    old = ssl.create_default_context(cafile=pair[0])
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get("/health/live", ssl=old)


async def _why(settings: Api, tmp_path: Path) -> str:
    """Why a daemon with this section does not start."""
    with pytest.raises(StartupError) as error:
        await Daemon(Config(state_dir=str(tmp_path / "state"), api=settings)).start()
    return str(error.value)


async def test_what_cannot_be_used_is_named_with_its_cure(tmp_path: Path, certificate: Callable[[str], Pair]) -> None:
    """Missing, foreign, mixed up, with a passphrase: the start fails at once, names the files and says what to do."""
    one, two = certificate("one"), certificate("two")
    text, gone, locked = (str(tmp_path / name) for name in ("text.pem", "gone.pem", "locked.key"))
    (tmp_path / "text.pem").write_text("not a certificate")
    _openssl("ec", "-in", one[1], "-aes256", "-passout", "pass:hunter2", "-out", locked)
    for pair, words in (
        ((gone, one[1]), ("api.tls_cert_file", gone, "No such file", "Correct the path")),
        ((one[0], gone), ("api.tls_key_file", gone, "No such file", "Correct the path")),
        ((str(tmp_path), one[1]), ("api.tls_cert_file", "directory")),
        ((text, one[1]), (text, "PEM")),
        ((one[0], text), (text, "PEM")),
        ((one[1], one[0]), ("PEM",)),
        ((one[0], two[1]), (one[0], two[1], "does not belong", "Give the pair")),
        ((one[0], locked), ("api.tls_key_file", "passphrase")),
    ):
        told = await _why(api(pair), tmp_path)
        assert all(word in told for word in words), told
        assert "hunter2" not in told


async def test_without_a_certificate_the_port_speaks_http(tmp_path: Path) -> None:
    """Neither file: TLS ends in front of the daemon, or on loopback nowhere."""
    settings = Config(state_dir=str(tmp_path / "state"), api=Api(bind_addr="127.0.0.1:0"))
    async with running(settings) as (daemon, _), aiohttp.ClientSession() as session:
        assert (await Client(daemon, session).get("/health/live")).status == 200
