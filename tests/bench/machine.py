"""What Linux tells of a machine and of its processes (proc(5))."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def described() -> dict[str, Any]:
    """The machine, for whoever reads the numbers later."""
    return {
        "cpu": cpu_model((PROC / "cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def cpu_model(cpuinfo: str) -> str:
    """The name of the first processor in /proc/cpuinfo; ARM's has none."""
    for line in cpuinfo.splitlines():
        key, _, name = line.partition(":")
        if key.strip() == "model name":
            return name.strip()
    return platform.machine()


def cpu_seconds(pid: int) -> float:
    """CPU time of all living threads of a process, to the nanosecond where the kernel keeps it."""
    try:
        tasks = [task / "schedstat" for task in (PROC / str(pid) / "task").iterdir()]
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    except FileNotFoundError:
        # A kernel without CONFIG_SCHED_INFO, or a thread that has just ended: in ticks, then.
        return stat_seconds((PROC / str(pid) / "stat").read_text())


def stat_seconds(stat: str) -> float:
    """utime + stime of /proc/PID/stat; the second field may hold anything, parentheses too."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of processes, together."""
    pages = sum(int((PROC / str(pid) / "statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")
