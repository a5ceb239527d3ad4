"""Rules about the `api` section."""

from collections.abc import Iterator

from sentinel.config.addresses import is_loopback, parse_address
from sentinel.config.loader import Loaded
from sentinel.config.rule import Finding


def bind(loaded: Loaded) -> Iterator[Finding]:
    """Who could reach the API, and what they could read on the way."""
    api, path = loaded.config.api, ("api", "bind_addr")
    try:
        address = parse_address(api.bind_addr)
    except ValueError:
        yield Finding(path, "bad_address", "is not host:port", "Write it like 127.0.0.1:8080.", "error")
        return
    if is_loopback(address.host):
        return
    if api.require_keys is False:
        what = "is false, and `bind_addr` lets other machines in: anybody could read, send and change everything"
        yield Finding(("api", "require_keys"), "public_bind", what, "Set it to true, or listen on 127.0.0.1.", "error")
    if api.tls_cert_file is None:
        what = "lets other machines in over plain HTTP: keys and data can be read on the way, unless a proxy in front speaks TLS"
        yield Finding(path, "plaintext_api", what, "Give `tls_cert_file` and `tls_key_file`, or listen where only the proxy gets in.")


def certificate(loaded: Loaded) -> Iterator[Finding]:
    """A certificate without its key, or a key without its certificate."""
    api = loaded.config.api
    if (api.tls_cert_file is None) != (api.tls_key_file is None):
        there, missing = ("tls_key_file", "tls_cert_file") if api.tls_cert_file is None else ("tls_cert_file", "tls_key_file")
        yield Finding(("api", there), "half_certificate", f"is set without {missing}", "Set both, or neither.", "error")


def cors(loaded: Loaded) -> Iterator[Finding]:
    """Which web pages could read answers."""
    api = loaded.config.api
    if api.enable_cors and "*" in api.cors_origins:
        index = api.cors_origins.index("*")
        what = "lets every web page that someone on this machine opens read the answers"
        yield Finding(("api", "cors_origins", index), "any_origin", what, "Name the origins, like https://dashboard.example.com.")
    if api.enable_cors and not api.cors_origins:
        yield Finding(
            ("api", "enable_cors"), "no_origin", "is true, and `cors_origins` names no origin", "Name the origins, or set it to false."
        )


def metrics_path(loaded: Loaded) -> Iterator[Finding]:
    """A metrics path that would hide a page of the API."""
    path = loaded.config.api.metrics_path
    if path in {"/", "/docs"} or path.startswith(("/api/", "/health/")):
        yield Finding(("api", "metrics_path"), "taken_path", "is a path the API uses itself", "Choose another, like /metrics.", "error")
