"""Takes the memory of another's cgroup until the kernel kills in it: ``memory_hog.py PID``.

Puts itself into the memory cgroup of process PID, makes PID the first that the kernel kills and
itself the second (while PID's memory is given back, the kernel may kill once more), and takes a
megabyte at a time until PID is gone. Then it ends: what is started there next has room.
Where PID is gone already, there is nothing to do.
"""

import sys
import time
from pathlib import Path

MEBIBYTE = 1 << 20
LIMIT = 8 << 30


def memory_cgroup(pid):
    """The directory of the cgroup whose memory is limited: of cgroup v1, else v2."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    paths = {controllers: path for _, controllers, path in (each.split(":", 2) for each in lines)}
    if "memory" in paths:
        return Path("/sys/fs/cgroup/memory") / paths["memory"].lstrip("/")
    return Path("/sys/fs/cgroup") / paths[""].lstrip("/")


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


pid = int(sys.argv[1])
if not lives(pid):
    sys.exit()
(memory_cgroup(pid) / "cgroup.procs").write_text("0\n")
Path(f"/proc/{pid}/oom_score_adj").write_text("1000\n")
Path("/proc/self/oom_score_adj").write_text("500\n")
taken = []
while lives(pid):
    if len(taken) * MEBIBYTE > LIMIT:
        sys.exit(f"took {len(taken)} MiB and {pid} still lives: no limit acts")
    taken.append(b"x" * MEBIBYTE)
    time.sleep(0.002)
