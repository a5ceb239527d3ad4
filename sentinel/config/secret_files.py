"""Files that hold secrets: what is wrong with one, and what it holds. The only place that reads them."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sentinel.config.problems import Severity
from sentinel.config.secret import Secret
from sentinel.config.values import MisfitError, checked_secret

MAX_SECRET_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file. The same words as in a Problem, which adds the place."""

    code: str
    what: str
    suggestion: str
    severity: Severity = "error"


def look_at(path: Path, *, secret: bool) -> list[Fault]:
    """What can be said of the file without opening it: that it is there, is a file, and is not open to others."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "no such file").lower()
        return [Fault("no_file", f"names a file that cannot be read: {reason}", "Create it, or correct the path.")]
    if not stat.S_ISREG(status.st_mode):
        return [Fault("no_file", "names something that is not a file", "Name a regular file.")]
    if secret and status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        cure = "Run `chmod 600` on it (in Kubernetes, set the volume's defaultMode to 0400)."
        return [Fault("open_file", f"names a file that others may use (mode {stat.S_IMODE(status.st_mode):04o})", cure, "warning")]
    return []


def read_secret(path: Path) -> Secret | Fault:
    """The secret in a file, without its line end. One read, never more than the size limit."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        return Fault(
            "no_file", f"names a file that cannot be read: {(error.strerror or 'unknown reason').lower()}", "Correct its permissions."
        )
    if len(raw) > MAX_SECRET_BYTES:
        return Fault("bad_secret", f"names a file of more than {MAX_SECRET_BYTES} bytes", "Name the file that holds the secret alone.")
    try:
        return checked_secret(raw.decode())
    except UnicodeDecodeError:
        return Fault("bad_secret", "names a file that is not text", "Make a key with `openssl rand -hex 32 > FILE`.")
    except MisfitError as misfit:
        return Fault("bad_secret", f"names a file whose content {misfit.what}", misfit.suggestion or "")
