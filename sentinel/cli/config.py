"""`sentinel config`: check, show and describe the configuration. Nothing here connects, creates or reads a secret file."""

import json
import os
from pathlib import Path
from typing import Any

import click
import yaml

from sentinel.cli.problems import as_json, counted, show, show_problems
from sentinel.config.checks import check, check_run
from sentinel.config.document import render
from sentinel.config.loader import Loaded, draft, load, locate
from sentinel.config.schema import json_schema

BAD_CONFIGURATION = 3

_file = click.argument("file", required=False, type=click.Path(path_type=Path))
_json = click.option("--json", "as_json_text", is_flag=True, help="Print JSON.")


@click.group()
def config() -> None:
    """Check, show and describe the configuration."""


@config.command()
@_file
@_json
def validate(file: Path | None, *, as_json_text: bool) -> int:
    """Check FILE (default: the file SENTINEL_CONFIG names, else the built-in defaults) and print every problem with its cure.

    Exit code 0 when it is valid, warnings or not; 3 when it is not.
    """
    loaded = draft(locate(file, os.environ), os.environ, read_secrets=False)
    problems = check(loaded)
    valid = not any(problem.severity == "error" for problem in problems)
    refusals = sum(problem.severity == "error" for problem in check_run(loaded))
    if as_json_text:
        verdict = {"file": _file_name(loaded), "valid": valid, "runs": not refusals, "problems": as_json(problems)}
        click.echo(json.dumps(verdict, indent=2))
    else:
        show_problems(problems)
        show(f"{_subject(loaded)}: {_verdict(valid=valid, refusals=refusals)} ({counted(problems)})")
    return 0 if valid else BAD_CONFIGURATION


@config.command(name="show")
@_file
@_json
def show_effective(file: Path | None, *, as_json_text: bool) -> int:
    """Print the configuration in effect, defaults and variables filled in, secrets starred out."""
    loaded = load(locate(file, os.environ), os.environ, read_secrets=False)
    effective: dict[str, Any] = loaded.config.model_dump(mode="json")
    if as_json_text:
        click.echo(json.dumps(effective, indent=2))
        return 0
    click.echo(f"# {loaded.origin}")
    click.echo(yaml.safe_dump(effective, sort_keys=False, allow_unicode=True), nl=False)
    show_problems(loaded.problems, err=True)
    return 0


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors and other checkers."""
    click.echo(json.dumps(json_schema(), indent=2))


@config.command(hidden=True)
@click.argument("target", required=False, type=click.Path(path_type=Path, dir_okay=False))
def docs(target: Path | None) -> None:
    """Print docs/configuration.md, or write it to TARGET."""
    if target is None:
        click.echo(render(), nl=False)
    else:
        target.write_text(render(), encoding="utf-8")


def _file_name(loaded: Loaded) -> str | None:
    return None if loaded.file is None else str(loaded.file)


def _subject(loaded: Loaded) -> str:
    return loaded.origin if loaded.file is None else loaded.place(())[0]


def _verdict(*, valid: bool, refusals: int) -> str:
    """One line for people."""
    if not valid:
        return click.style("not valid", fg="red", bold=True)
    if refusals:
        reasons = "1 reason" if refusals == 1 else f"{refusals} reasons"
        return f"{click.style('valid', fg='yellow', bold=True)}, but `sentinel run` would refuse it for {reasons}"
    return click.style("valid", fg="green", bold=True)
