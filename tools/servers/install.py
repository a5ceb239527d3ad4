"""Getting servers onto this machine."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tools.servers.process import NotInstalledError, ServerError

SERVERS = Path(__file__).parents[2] / ".servers"
"""Where downloaded servers live; not under version control."""
_QUIETLY = {"DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_OFFLINE": "1"}
"""No questions, and no service started: tests start their own servers, on ports of their own."""


def install_packages(packages: Sequence[str], reason: str) -> None:
    """Install Debian packages, saying so.

    Args:
        packages: their names.
        reason: what is missing, for the message.

    Raises:
        NotInstalledError: there is no apt-get, or we are not root; the message says what to install.
        ServerError: apt-get failed.
    """
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise NotInstalledError(
            f"{reason}. Install it and run this again (as root on Debian and Ubuntu: apt-get install {' '.join(packages)})."
        )
    print(f"{reason}: installing {' '.join(packages)} with apt-get", flush=True)
    _update_package_lists(apt)
    run_to_end([apt, "-q", "-y", "install", "--no-install-recommends", *packages], _QUIETLY)


@cache
def _update_package_lists(apt: str) -> None:
    """Once a process is enough; a failure is not remembered."""
    run_to_end([apt, "-q", "update"])


def run_to_end(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a command without input; its output is shown only in the ServerError raised when it fails."""
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise ServerError(f"{' '.join(command)} ended with code {done.returncode}:\n{done.stdout.strip()}")
