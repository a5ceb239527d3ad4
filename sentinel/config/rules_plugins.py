"""Rules on detectors of others. Looking for them takes numpy, so it is done only where the file names one."""

from collections.abc import Iterator

from sentinel.config.loader import Loaded
from sentinel.config.rule import Finding


def installed(loaded: Loaded) -> Iterator[Finding]:
    """Detectors that cannot be had, and parameters they do not take."""
    if loaded.config.detection.plugins:
        from sentinel.config import plugins  # noqa: PLC0415  see above

        yield from plugins.rule(loaded)
