"""The webhook: its name, the addresses behind it as the guard sees them, TLS. Nothing is sent."""

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from sentinel.alerting.addresses import networks
from sentinel.alerting.guard import AddressGuard, RefusedAddressError
from sentinel.alerting.tls import client_context
from sentinel.alerting.webhook import signing_keys
from sentinel.app.doctor.check import Check, Finding, failed, ok, warning
from sentinel.app.doctor.tls import reach
from sentinel.config.schema import Config, Webhook

SUBJECT: Final = "webhook"
_CHECK_URL: Final = "Check alerting.webhook.url."


async def _run(config: Config) -> Sequence[Finding]:
    section = config.alerting.webhook
    if section is None:
        return []
    if section.url is None:
        return [failed(SUBJECT, "alerting.webhook.url is not set", "Set it, or alerting.webhook.enabled to false.")]
    return [_secret(section), *await _target(section, section.url)]


def _secret(section: Webhook) -> Finding:
    """Raises StartupError for one that cannot be used."""
    keys = len(signing_keys(section))
    if not keys:
        return warning("webhook secret", "none is set: receivers cannot tell who sent an alert", "Set alerting.webhook.secret_file.")
    return ok("webhook secret", "one is in use" if keys == 1 else f"{keys} are in use; remove the old one once receivers have the new")


async def _target(section: Webhook, url: str) -> list[Finding]:
    parts = urlsplit(url)
    host, encrypted = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if encrypted else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return [failed(SUBJECT, f"{host} cannot be resolved: {error.strerror}", f"{_CHECK_URL[:-1]}, and DNS.")]
    guard = AddressGuard(networks(section.allowed_networks), encrypted=encrypted)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    refused = {address: reason for address in addresses if (reason := _refusal(guard, address)) is not None}
    open_to = [address for address in addresses if address not in refused]
    if not open_to:
        cure = "Name another target, or add its network to alerting.webhook.allowed_networks if alerts shall go there."
        return [failed(SUBJECT, f"{host} must not be sent to: {'; '.join(refused.values())}", cure)]
    return [await _reached(section, host, open_to, port, encrypted=encrypted), *_some_refused(host, refused)]


def _refusal(guard: AddressGuard, address: str) -> str | None:
    try:
        guard.check(address)
    except RefusedAddressError as error:
        return str(error)
    return None


def _some_refused(host: str, refused: dict[str, str]) -> list[Finding]:
    what = f"{host} also stands for addresses that are never sent to: {', '.join(refused)}"
    return [warning(SUBJECT, what, "See who answers for that name.")] if refused else []


async def _reached(section: Webhook, host: str, addresses: Sequence[str], port: int, *, encrypted: bool) -> Finding:
    context = client_context(section.ca_file, "alerting.webhook.ca_file") if encrypted else None
    reasons = []
    for address in addresses:
        met = await reach(address, port, context, time.time(), name=host)
        if met.refusal is None:
            how = "TLS, certificate trusted" if encrypted else "plain text"
            what = f"{host} at {address}, port {port}: {how}; nothing was sent"
            return (
                warning(SUBJECT, f"{what}; its certificate ends in {met.days_left:.0f} days", "Renew it.")
                if met.ends_soon
                else ok(SUBJECT, what)
            )
        reasons.append(f"{address}: {met.refusal}")
    return failed(SUBJECT, f"{host} cannot be reached on port {port}: {'; '.join(reasons)}", f"{_CHECK_URL[:-1]}, ca_file and firewalls.")


WEBHOOK: Final = Check(SUBJECT, _run, lambda config: config.alerting.webhook is not None and config.alerting.webhook.enabled, 10.0)
