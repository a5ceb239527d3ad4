"""The entry point: which commands there are, and what their failures become. Commands are imported when they are called, not before."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from sentinel.cli.problems import show_problems
from sentinel.config.problems import ConfigError
from sentinel.core.errors import SentinelError

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
BAD_CONFIGURATION: Final = 3


class LazyCommand(NamedTuple):
    """A command that is not imported yet.

    Attributes:
        module: where it is.
        attribute: the click command in that module.
        summary: the line `--help` shows, so that help imports nothing either.
    """

    module: str
    attribute: str
    summary: str


COMMANDS: Final[dict[str, LazyCommand]] = {
    "run": LazyCommand("sentinel.cli.run", "run", "Run the daemon."),
    "demo": LazyCommand("sentinel.cli.demo", "demo", "Run the daemon on simulated traffic, with nothing to set up."),
    "simulate": LazyCommand("sentinel.cli.simulate", "simulate", "Write simulated events, with faults on request."),
    "backtest": LazyCommand("sentinel.cli.backtest", "backtest", "Tell what a configuration would have told, on events of the past."),
    "tune": LazyCommand("sentinel.cli.tune", "tune", "Find settings that alert no more often than wanted."),
    "plot": LazyCommand("sentinel.cli.plot", "plot", "Draw a series with its band and anomalies, as a file anyone can open."),
    "config": LazyCommand("sentinel.cli.config", "config", "Check, show and describe the configuration."),
    "doctor": LazyCommand("sentinel.cli.doctor", "doctor", "Check everything the daemon depends on."),
    "alerts": LazyCommand("sentinel.cli.alerts", "alerts", "Show alerts."),
    "dlq": LazyCommand("sentinel.cli.dlq", "dlq", "Look through dead letters, send their records in again, delete them."),
    "keys": LazyCommand("sentinel.cli.keys", "keys", "Make, list and revoke API keys."),
    "webhook": LazyCommand("sentinel.cli.webhook", "webhook", "Try and check signed webhooks."),
    "version": LazyCommand("sentinel.cli.version", "version", "Show the version, and those of the libraries."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported by name; those this installation does not have are not listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names in the order of COMMANDS."""
        return [name for name, command in COMMANDS.items() if find_spec(command.module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is none of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        lazy = COMMANDS[cmd_name]
        command = getattr(import_module(lazy.module), lazy.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{lazy.module}.{lazy.attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands for `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with `--config` of the group handed to `run`."""
        name, command, rest = super().resolve_command(ctx, args)
        file = ctx.params.get("config")
        if file is None:
            return name, command, rest
        if name != "run":
            raise click.UsageError(f"--config stands before `run` or alone; for `{name}`, see `sentinel {name} --help`", ctx)
        return name, command, ["--config", str(file), *rest]


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Without a command: run the daemon with this file.")
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> Any:  # noqa: ANN401  whatever the command returns
    """Watch LLM applications and tell people, early and without crying wolf, when something goes wrong.

    Exit codes: 0 success, 1 failure, 2 wrong usage, 3 bad configuration.
    """
    if ctx.invoked_subcommand is not None:
        return None
    if config is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)
    run = cli.get_command(ctx, "run")
    if run is None:
        raise click.UsageError("this installation has no `run` command", ctx)
    with run.make_context("run", ["--config", str(config)], parent=ctx) as run_ctx:
        return run.invoke(run_ctx)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the command line without the program's name; that of the process when None.

    Returns:
        The exit code: what the command returned when that is a number, else by what was raised.
    """
    try:
        outcome = cli.main(args=None if args is None else list(args), prog_name="sentinel", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("aborted", err=True)
        return FAILURE
    except ConfigError as error:
        show_problems(error.problems, err=True)
        return BAD_CONFIGURATION
    except SentinelError as error:
        click.echo(f"sentinel: {error}", err=True)
        return FAILURE
    return outcome if isinstance(outcome, int) else OK


if __name__ == "__main__":
    sys.exit(main())
