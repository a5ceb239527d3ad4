"""Run a command and kill it, with all it started, once standard input closes: `guard.py COMMAND [ARGUMENT ...]`.

Whoever starts a server holds the other end of that pipe. The kernel closes it however that process ends, so no server outlives it. (The
kernel's own parent-death signal follows the starting thread, not the process, and would kill servers started from a worker thread.)
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType


def _kill_group_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _leave_it_to_the_command(_signal: int, _frame: FrameType | None) -> None:
    """Signals come to the whole group; the command decides what they mean, the guard only reports how it ended."""


def main() -> int:
    """Run the command of the arguments and return its exit code, 128 + n after signal n."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, _leave_it_to_the_command)
    with subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL) as command:
        threading.Thread(target=_kill_group_at_end_of_input, daemon=True).start()
        code = command.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
