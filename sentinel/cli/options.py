"""Options that several commands have."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

config_file: Final = click.option(
    "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Configuration; default: SENTINEL_CONFIG, else built in."
)
"""As the parameter `file`."""

json_output: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""As the parameter `as_json`."""


class Option(Protocol):
    """What decorates a command."""

    def __call__(self, command: Command, /) -> Command:
        """The command with the option."""
        ...


def together(*options: Option) -> Option:
    """Several options as one; help shows them in this order."""

    def decorate(command: Command, /) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def parse_time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Nanoseconds since the epoch of an RFC 3339 time; before 1970 they are negative."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no RFC 3339 time such as 2026-01-15T10:30:00Z", ctx, param) from error
    since = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
