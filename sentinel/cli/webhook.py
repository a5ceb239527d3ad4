"""`sentinel webhook`: try out where alerts go, and check the signature of one that came."""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import click
from pydantic import ValidationError

from sentinel.alerting import render, sign
from sentinel.alerting.answers import accepted, judge
from sentinel.alerting.trial import trial
from sentinel.alerting.webhook import Answer, host_of
from sentinel.alerting.webhook import Webhook as WebhookReceiver
from sentinel.app.clock import SystemClock
from sentinel.cli.problems import show
from sentinel.config.loader import load, locate
from sentinel.config.secret import Secret
from sentinel.config.secret_files import Fault, read_secret
from sentinel.config.sections_alerting import Webhook
from sentinel.core.errors import StartupError
from sentinel.observability import logs
from sentinel.observability.metrics import Metrics

MOST_BODY_BYTES: Final = 16_777_216

_secret_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def webhook() -> None:
    """Send a test alert to the webhook, or check a signature."""


@webhook.command(name="send-test")
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Configuration; default: SENTINEL_CONFIG.")
@click.option("--url", metavar="URL", help="Send here instead of where the configuration says.")
@click.option("--secret-file", type=_secret_file, metavar="FILE", help="With --url: file that holds the signing secret.")
@click.option("--allow-network", "networks", multiple=True, metavar="CIDR", help="With --url: a network that is not public. Repeatable.")
def send_test(file: Path | None, url: str | None, secret_file: Path | None, networks: tuple[str, ...]) -> int:
    """Send one alert that is clearly marked as a test, once, and print what came back.

    The webhook of the configuration is used even while it is switched off. Exit code 0 when the receiver accepted the alert, 1 if not.
    """
    logs.configure("warning", as_json=False)
    if url is None and (secret_file is not None or networks):
        raise click.UsageError("--secret-file and --allow-network belong to --url; without it the configuration says all")
    section = _configured(file) if url is None else _given(url, secret_file, networks)
    parts = urlsplit(section.url or "")
    # A path may hold a secret.
    show(f"{section.method} {parts.scheme}://{parts.netloc}, {'signed' if section.secret else 'not signed'}")
    answer = asyncio.run(_sent(section))
    if accepted(answer.status):
        show(f"answered {answer.status} in {answer.seconds:.3f} s: {click.style('delivered', fg='green', bold=True)}")
        return 0
    show(f"{click.style('not delivered', fg='red', bold=True)}: {judge(answer.status, answer.asked_s, host_of(section))}")
    return 1


def _configured(file: Path | None) -> Webhook:
    section = load(locate(file, os.environ), os.environ).config.alerting.webhook
    if section is None or section.url is None:
        raise StartupError("the configuration has no alerting.webhook.url. Set it, or give --url")
    return section


def _given(url: str, secret_file: Path | None, networks: tuple[str, ...]) -> Webhook:
    settings: dict[str, Any] = {"enabled": True, "url": url, "allowed_networks": list(networks)}
    if secret_file is not None:
        settings["secret"] = _secret_in(secret_file)
    try:
        return Webhook.model_validate(settings, strict=True)
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)[0]
        option = "--url" if told["loc"][0] == "url" else "--allow-network"
        raise click.BadParameter(told["msg"], param_hint=option) from None


def _secret_in(file: Path) -> Secret:
    secret = read_secret(file)
    if isinstance(secret, Fault):
        raise click.BadParameter(f"{secret.what}. {secret.suggestion}", param_hint="--secret-file")
    return secret


async def _sent(section: Webhook) -> Answer:
    """Send one, once."""
    receiver = WebhookReceiver(section, SystemClock(), Metrics())
    await receiver.open()
    try:
        notification = trial("webhook", f"test-{uuid4().hex}", time.time_ns())
        return await receiver.post(notification.id, render.webhook_body(notification))
    finally:
        await receiver.close()


@webhook.command()
@click.option("--secret-file", required=True, type=_secret_file, metavar="FILE", help="File that holds the receiver's secret.")
@click.option("--id", "message_id", default="", metavar="ID", help="The webhook-id header.")
@click.option("--timestamp", default="", metavar="SECONDS", help="The webhook-timestamp header.")
@click.option("--signature", required=True, metavar="TEXT", help="The webhook-signature header, or the X-Sentinel-Signature header.")
@click.option("--tolerance", default=sign.TOLERANCE_S, show_default=True, type=click.IntRange(0), help="Seconds of age; 0 for any.")
@click.argument("body_file", default="-", metavar="[BODYFILE]")
def verify(secret_file: Path, message_id: str, timestamp: str, signature: str, tolerance: int, body_file: str) -> int:
    """Check the signature of a message whose body is in BODYFILE (default: standard input), byte for byte as it came.

    Says which part is wrong. Exit code 0 when a receiver would accept the message, 1 if not.
    """
    secret = _secret_in(secret_file).reveal()
    try:
        key = sign.key_of(secret)
    except ValueError as reason:
        raise click.BadParameter(f"holds a secret that cannot be used: {reason}", param_hint="--secret-file") from None
    body = _body(body_file)
    if signature.startswith("sha256="):
        return _verdict({"signature": _body_problem(key, signature, body)})
    lines = {sign.ID: message_id, sign.TIMESTAMP: timestamp, sign.SIGNATURE: signature}
    problems = {"id": None if message_id else "is missing: give the webhook-id header with --id"}
    if not timestamp:
        problems["timestamp"] = "is missing: give the webhook-timestamp header with --timestamp"
    else:
        problems["timestamp"] = sign.age_problem(timestamp, time.time(), tolerance or float("inf"))
    problems["signature"] = None if sign.matches([key], lines, body) else _signature_problem(secret, lines, body)
    return _verdict(problems)


def _body(name: str) -> bytes:
    try:
        if name == "-":
            body = sys.stdin.buffer.read(MOST_BODY_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                body = file.read(MOST_BODY_BYTES + 1)
    except OSError as error:
        raise click.BadParameter(f"cannot be read: {(error.strerror or 'unknown reason').lower()}", param_hint="BODYFILE") from error
    if len(body) > MOST_BODY_BYTES:
        raise click.BadParameter(f"holds more than {MOST_BODY_BYTES} bytes, which no alert does", param_hint="BODYFILE")
    return body


def _body_problem(key: bytes, given: str, body: bytes) -> str | None:
    if sign.same(sign.body_signature(key, body), given):
        return None
    if sign.same(sign.body_signature(key, body.removesuffix(b"\n")), given):
        return "is that of the body without its last line end, which something added"
    return "does not match: the secret or the body is not the one that was signed"


def _signature_problem(secret: str, lines: dict[str, str], body: bytes) -> str:
    """The likeliest reason why it does not match."""
    key = sign.key_of(secret)
    if not any(one.startswith("v1,") for one in lines[sign.SIGNATURE].split(" ")):
        return "holds no v1 signature: give the whole webhook-signature header, which begins with v1,"
    if sign.matches([key], lines, body.removesuffix(b"\n")):
        return "is that of the body without its last line end, which something added"
    if secret.startswith(sign.PREFIX) and sign.matches([secret.encode()], lines, body):
        return f"was made with the secret as plain text; decode the base64 after {sign.PREFIX} for the key"
    return "does not match: the secret, the id, the timestamp or the body is not the one that was signed"


def _verdict(problems: dict[str, str | None]) -> int:
    """One line a part. The exit code."""
    for part, problem in problems.items():
        show(f"{part}: {'ok' if problem is None else problem}")
    good = not any(problems.values())
    show(click.style("valid", fg="green", bold=True) if good else click.style("not valid", fg="red", bold=True))
    return 0 if good else 1
