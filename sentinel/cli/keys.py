"""`sentinel keys`: make, list and revoke API keys, in the state database of a configuration. The daemon may run meanwhile."""

import asyncio
import json
import os
import pwd
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click
from sqlalchemy import Connection

from sentinel.cli.options import config_file, json_output
from sentinel.cli.problems import show
from sentinel.config.loader import load, locate
from sentinel.core.access import KID_BYTES, SECRET_BYTES, ApiKey, Role, digest_of, kid_of, roles_of, spelled
from sentinel.core.errors import PermanentError
from sentinel.core.timestamp import rfc3339
from sentinel.observability import logs
from sentinel.state import keys as kept
from sentinel.state.database import StateDatabase

T = TypeVar("T")

LONGEST_NAME: Final = 64
LONGEST_DAYS: Final = 3_650
_MS: Final = 10**6
_UNIT_NS: Final = {"m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}


def _span_ns(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """A time span such as 90d, 12h or 30m in nanoseconds; at most ten years."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", value, re.ASCII)
    span_ns = int(found[1]) * _UNIT_NS[found[2]] if found else 0
    if not 0 < span_ns <= LONGEST_DAYS * _UNIT_NS["d"]:
        raise click.BadParameter(f"write it like 90d, 12h or 30m, at most {LONGEST_DAYS}d")
    return span_ns


def _plain_name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """A name that can be shown on one line."""
    if not value.strip() or not value.isprintable() or len(value) > LONGEST_NAME:
        raise click.BadParameter(f"a name has 1 to {LONGEST_NAME} printable characters")
    return value.strip()


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. They count for a running daemon within seconds."""


@keys.command()
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What the key is for.")
@click.option("--name", callback=_plain_name, required=True, help="Who or what uses it, for people.")
@click.option(
    "--expires", "expires_after_ns", callback=_span_ns, metavar="SPAN", help="Opens nothing after this time, like 90d; default: never."
)
@config_file
@json_output
def create(role: str, name: str, expires_after_ns: int | None, file: Path | None, *, as_json: bool) -> int:
    """Make a key and print it. This is the only time it can be seen: what is kept opens nothing.

    viewer reads; ingester sends events; operator reads and operates; admin does everything.
    """
    kid, now_ns = secrets.token_hex(KID_BYTES), _now_ns()
    text = spelled(kid, secrets.token_hex(SECRET_BYTES))
    expires_ns = None if expires_after_ns is None else now_ns + expires_after_ns
    key = ApiKey(kid, name, roles_of(role), digest_of(text), now_ns, actor(), expires_ns)
    place = _in_database(file, lambda connection: kept.create(connection, key, actor()))[0]
    if as_json:
        click.echo(json.dumps({"key": text} | _shown(key, now_ns)))
        return 0
    until = f"until {rfc3339(expires_ns)}" if expires_ns else "until it is revoked"
    show(f"key {kid} ({role}, {name}) is valid {until}; kept in {place}. Its secret is shown this once:", err=True)
    click.echo(text)
    return 0


@keys.command(name="ls")
@config_file
@json_output
def list_keys(file: Path | None, *, as_json: bool) -> int:
    """List all keys, revoked ones as well, the oldest first. Secrets cannot be shown."""
    place, found = _in_database(file, kept.listed)
    rows = [_shown(key, _now_ns()) for key in found]
    if as_json:
        click.echo(json.dumps({"keys": rows}))
        return 0
    show(f"{len(rows)} API keys in {place}", err=True)
    if rows:
        _table([[str(value or "-") for value in row.values()] for row in rows], list(rows[0]))
    return 0


@keys.command()
@click.argument("kid", callback=lambda _ctx, _param, given: kid_of(given))
@config_file
@json_output
def revoke(kid: str, file: Path | None, *, as_json: bool) -> int:
    """Let the key KID open nothing any more. Doing it again changes nothing."""
    now_ns = _now_ns()
    place, before = _in_database(file, lambda connection: kept.revoke(connection, kid, actor(), now_ns))
    if before is None:
        raise PermanentError(f"there is no such API key in {place}: see `sentinel keys ls` for the kids")
    revoked_ns = before.revoked_ns or now_ns
    if as_json:
        click.echo(json.dumps({"kid": before.kid, "name": before.name, "revoked_at": rfc3339(revoked_ns)}))
    else:
        show(f"key {before.kid} ({before.name}) is revoked since {rfc3339(revoked_ns)}; running daemons notice within seconds")
    return 0


def actor() -> str:
    """Who runs this command, for the audit log: by the system's user, not by what the environment says."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:uid-{os.getuid()}"


def _in_database(file: Path | None, work: Callable[[Connection], T]) -> tuple[str, T]:
    """Do something in one transaction of the configured state database; where that is, and what came out."""
    config = load(locate(file, os.environ), os.environ).config
    logs.configure("warning", as_json=False)
    database = StateDatabase(config.state, Path(config.state_dir) / "state.db")

    async def once() -> T:
        try:
            await database.open()
            return await database.run(work)
        finally:
            await database.close()

    return database.place, asyncio.run(once())


def _shown(key: ApiKey, now_ns: int) -> dict[str, str | None]:
    """A key for people, without anything that opens a door."""
    state = "revoked" if key.revoked_ns else "expired" if key.expired(now_ns) else "valid"
    times = {"created_at": key.created_ns, "expires_at": key.expires_ns, "last_used_at": key.last_used_ns, "revoked_at": key.revoked_ns}
    who = {"kid": key.kid, "state": state, "role": " ".join(sorted(key.roles)), "name": key.name, "created_by": key.created_by}
    return who | {name: rfc3339(at_ns // _MS * _MS) if at_ns else None for name, at_ns in times.items()}


def _now_ns() -> int:
    """Wall clock, in whole milliseconds: nobody reads more."""
    return time.time_ns() // _MS * _MS


def _table(rows: list[list[str]], heads: list[str]) -> None:
    """Columns as wide as what is in them."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in [[head.replace("_", " ").upper() for head in heads], *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
