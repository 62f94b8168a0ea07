"""Become another program with listening sockets at file descriptors 3, 4, … (sd_listen_fds(3)).

Run as a script by :mod:`.supervisor`, since what ``LISTEN_PID`` and ``WATCHDOG_PID`` have to be is
known only in the child::

    python -I -S activate.py PARENT_PID [NAME=FD ...] -- PROGRAM [ARGUMENT ...]

Uses nothing but the standard library, and little of it, to start in a few milliseconds. The program
gets SIGTERM when the parent dies, however it dies (prctl(2), PR_SET_PDEATHSIG).
"""

import ctypes
import os
import signal
import sys

_FIRST_FD = 3
_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Move the sockets into place, tell the program of them, become it."""
    parent, *rest = argv
    split = rest.index("--")
    named, program = [item.split("=") for item in rest[:split]], rest[split + 1 :]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(f"cannot start {program[0]}: its supervisor (pid {parent}) is gone")
    # First out of the way of each other, then down to where they belong.
    high = [os.dup2(int(fd), 100 + index) for index, (_, fd) in enumerate(named)]
    for index, fd in enumerate(high):
        os.dup2(fd, _FIRST_FD + index, inheritable=True)
    os.closerange(_FIRST_FD + len(named), 100 + len(named))
    # Both say whom they are for; a manager above the supervisor has said it of the supervisor.
    os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(named))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in named)
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
