"""Closing a daemon that never came to run."""

from pathlib import Path

from daemon_run import config

from sentinel.app.daemon import Daemon
from sentinel.config.sections_alerting import Alerting


async def test_a_daemon_told_to_stop_while_it_starts_closes_in_order(tmp_path: Path) -> None:
    """Closing before the state database is open, or twice, is harmless also with alerts: the exit code is not a failure's."""
    daemon = Daemon(config(tmp_path, alerting=Alerting(enabled=True)))
    await daemon.close()
    await daemon.close()


async def test_a_daemon_that_runs_closes_twice(tmp_path: Path) -> None:
    """The start that was cut short closes what it has opened, and whoever started it closes again."""
    daemon = Daemon(config(tmp_path, alerting=Alerting(enabled=True)))
    await daemon.start()
    await daemon.close()
    await daemon.close()
