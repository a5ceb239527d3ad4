"""`sentinel doctor`: is everything there that the daemon needs, and what to do if not."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sentinel.cli.options import config_file
from sentinel.cli.problems import show
from sentinel.config.loader import Loaded, draft, locate
from sentinel.config.schema import Config
from sentinel.observability import logs

if TYPE_CHECKING:
    from sentinel.app.doctor.check import Check, Finding

BAD_CONFIGURATION = 3
COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command()
@config_file
@click.option("--send-test-alert", is_flag=True, help="Also send a test alert to every configured receiver.")
@click.option("--json", "as_json_text", is_flag=True, help="Print JSON.")
def doctor(file: Path | None, *, send_test_alert: bool, as_json_text: bool) -> int:
    """Look at everything the daemon depends on, and say what to do about what is wrong.

    It starts, creates and changes nothing. Run it as the daemon's user. Exit code 0 when nothing failed, 1 when something did, 3 when the
    configuration cannot be used.
    """
    from sentinel.app.doctor.check import worst  # noqa: PLC0415  with everything the daemon needs
    from sentinel.app.doctor.configuration import configuration, trustworthy  # noqa: PLC0415  likewise

    logs.configure("error", as_json=False)
    loaded = draft(locate(file, os.environ), os.environ, read_secrets=True)
    findings = list(configuration(loaded))
    usable = trustworthy(loaded)
    if usable:
        findings += asyncio.run(_examined(loaded.config, send_test_alert=send_test_alert))
    status = worst(findings).value
    if as_json_text:
        click.echo(json.dumps({"status": status, "checked": usable, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _print(findings, loaded, usable=usable)
    return BAD_CONFIGURATION if not usable else int(status == "failed")


async def _examined(config: Config, *, send_test_alert: bool) -> "list[Finding]":
    """All findings, in the order of the checks; who is still waited for is shown on a terminal."""
    from sentinel.app.doctor.check import examine  # noqa: PLC0415  as above
    from sentinel.app.doctor.checks import CHECKS  # noqa: PLC0415  as above
    from sentinel.app.doctor.trial import TEST_ALERTS  # noqa: PLC0415  as above

    checks = [check for check in (*CHECKS, *(TEST_ALERTS if send_test_alert else ())) if check.applies(config)]
    found: dict[str, Sequence[Finding]] = {}
    _progress(checks, found)
    async for check, findings in examine(checks, config):
        found[check.name] = findings
        _progress(checks, found)
    return [finding for check in checks for finding in found[check.name]]


def _progress(checks: "Sequence[Check]", found: "dict[str, Sequence[Finding]]") -> None:
    """One line that is written over, on a terminal only."""
    if not sys.stderr.isatty():
        return
    waiting = [check.name for check in checks if check.name not in found]
    line = f"{len(found)} of {len(checks)} checked, waiting for {', '.join(waiting)}"[:100] if waiting else ""
    click.echo(f"\r\x1b[K{line}", err=True, nl=False)


def _print(findings: "Sequence[Finding]", loaded: Loaded, *, usable: bool) -> None:
    """One line a finding, its cure below it, and a verdict."""
    widest = max(len(finding.subject) for finding in findings)
    for finding in findings:
        status = click.style(f"{finding.status.value:<7}", fg=COLOURS[finding.status.value], bold=True)
        show(f"{status}  {finding.subject:<{widest}}  {finding.what}")
        if finding.cure:
            show(f"{'':<{widest + 9}}  -> {finding.cure}")
    count = {status: sum(finding.status.value == status for finding in findings) for status in COLOURS}
    show(f"{loaded.origin}: {count['failed']} failed, {count['warning']} warnings, {count['ok']} ok")
    if not usable:
        show("nothing else was looked at: correct the configuration first")
