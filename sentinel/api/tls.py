"""TLS of the API's own port: the certificate, its key, and what is wrong with them."""

import ssl
from typing import Final, NoReturn

from sentinel.config.schema import Api
from sentinel.core.errors import StartupError

_MISMATCH: Final = "KEY_VALUES_MISMATCH"


def server_context(api: Api) -> ssl.SSLContext | None:
    """What the port speaks TLS with, 1.2 or newer; None when it speaks plain HTTP.

    Raises StartupError when certificate or key cannot be used; it names the file and the cure.
    """
    if api.tls_cert_file is None or api.tls_key_file is None:
        return None
    for key, path in (("api.tls_cert_file", api.tls_cert_file), ("api.tls_key_file", api.tls_key_file)):
        _must_be_readable(key, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(api.tls_cert_file, api.tls_key_file, password=_refuse_passphrase)
    except ssl.SSLError as error:
        raise StartupError(_told(error, api.tls_cert_file, api.tls_key_file)) from None
    return context


def _must_be_readable(key: str, path: str) -> None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  a path from the configuration
            file.read(1)
    except OSError as error:
        raise StartupError(f"cannot read {key} {path}: {error.strerror}. Correct the path, or let the daemon's user read it.") from None


def _told(error: ssl.SSLError, certificate: str, key: str) -> str:
    """What is wrong with the two files. The library does not say in which; the key is only looked at after the certificate."""
    if error.reason == _MISMATCH:
        return f"the key in api.tls_key_file {key} does not belong to the certificate in api.tls_cert_file {certificate}. Give the pair."
    return (
        f"api.tls_cert_file {certificate} and api.tls_key_file {key} cannot be used ({error.reason or 'not PEM'}). "
        "Write both as PEM: the server's certificate first, then its chain; and its private key."
    )


def _refuse_passphrase() -> NoReturn:
    """Without this the library would ask on the terminal and wait."""
    raise StartupError("api.tls_key_file holds a key with a passphrase. Write it without one, readable for the daemon's user only.")
