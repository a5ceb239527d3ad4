"""Telling systemd how we are, by the protocol of sd_notify(3): datagrams of KEY=value lines to the socket NOTIFY_SOCKET names."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

from sentinel.core.ports import Clock
from sentinel.observability.logs import get

STATUS_EVERY_S: Final = 5.0
"""How often the status line is renewed; a watchdog may ask for more."""

PATIENCE_US: Final = 120_000_000
"""Each sign of progress while starting asks for this much more time, in microseconds: no single step takes longer."""

MAX_STATUS_CHARS: Final = 500

log = get(__name__)


class Notifier:
    """Sends to the supervisor's socket; without one every method does nothing. A failure to send is logged once and stops nothing.

    Args:
        address: path of a unix datagram socket, or `@name` for an abstract one; empty when nobody listens.
        watchdog_s: the supervisor restarts us when it has not heard `alive` for this long; None when it does not watch.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None
        if address and not address.startswith(("/", "@")):
            log.warning("NOTIFY_SOCKET names no unix socket, the supervisor will not hear from us", address=address)
            self._address = ""

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "Notifier":
        """The one the environment describes; a watchdog that is meant for another process is not ours."""
        address, text = env.get("NOTIFY_SOCKET", ""), env.get("WATCHDOG_USEC", "")
        ours = env.get("WATCHDOG_PID", "") in {"", str(os.getpid())}
        interval_us = int(text) if ours and text.isascii() and text.isdigit() else 0
        return cls(address, interval_us / 1e6 or None)

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def starting(self, step: str) -> None:
        """A step of the start has begun: there is progress, so it may take longer."""
        self._send(_status(f"starting: {step}"), f"EXTEND_TIMEOUT_USEC={PATIENCE_US}")

    def ready(self, status: str) -> None:
        """The start, or a reload, is over."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """The configuration is being read anew; `ready` ends that."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}", _status("reloading the configuration"))

    def stopping(self, status: str) -> None:
        """Told to stop, or about to fail."""
        self._send("STOPPING=1", _status(status))

    def status(self, text: str) -> None:
        """What we are doing, for `systemctl status`."""
        self._send(_status(text))

    def alive(self) -> None:
        """Feed the watchdog."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self._address)
        except BlockingIOError:
            return  # its queue is full of what we said before; the next line says the same or more
        except OSError as error:
            log.warning("cannot reach the supervisor's socket, will not try again", error=error.strerror)
            self._address = ""


async def beat(notifier: Notifier, clock: Clock, stalled: Callable[[], list[str]], status: Callable[[], str]) -> None:
    """Renew the status, and feed the watchdog while work moves, without end.

    The event loop itself must run for this, so a loop that is stuck starves the watchdog too.

    Args:
        notifier: where to.
        clock: waits; twice in the watchdog's interval, as sd_watchdog_enabled(3) asks.
        stalled: why a restart would help; empty when it would not.
        status: one line for people.
    """
    every_s = min(STATUS_EVERY_S, (notifier.watchdog_s or STATUS_EVERY_S) / 2)
    while notifier.enabled:
        reasons = stalled()
        notifier.status("; ".join(reasons) or status())
        if not reasons:
            notifier.alive()
        await clock.sleep(every_s)


def _status(text: str) -> str:
    """One line: the protocol ends a value at the line's end."""
    return "STATUS=" + "".join(character if character.isprintable() else " " for character in text[:MAX_STATUS_CHARS])
