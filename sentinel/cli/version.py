"""`sentinel version`: what is installed, without importing it."""

import json
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import click

from sentinel import __version__

LIBRARIES = (
    "aiohttp",
    "aiokafka",
    "google-re2",
    "msgspec",
    "numba",
    "numpy",
    "orjson",
    "pydantic",
    "PyYAML",
    "structlog",
    "uvloop",
    "cramjam",
)


@click.command()
@click.option("--json", "as_json_text", is_flag=True, help="Print JSON.")
def version(*, as_json_text: bool) -> None:
    """Show the version, and those of Python, the platform and the libraries that matter in a bug report."""
    facts = {"version": __version__, "python": platform.python_version(), "platform": platform.platform()}
    libraries = {name: _installed(name) for name in LIBRARIES}
    if as_json_text:
        click.echo(json.dumps({**facts, "libraries": libraries}, indent=2))
        return
    click.echo(f"sentinel {facts['version']} (Python {facts['python']}, {facts['platform']})")
    for name, number in libraries.items():
        click.echo(f"  {name} {number or 'not installed'}")


def _installed(name: str) -> str | None:
    """The version of an installed distribution; None when it is not installed."""
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return None
