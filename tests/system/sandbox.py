"""A real, throw-away systemd: systemd-nspawn on an overlay of this machine's root, in memory.

Nothing outlives the test process. The container's processes are in a PID namespace whose first
process dies with us (PR_SET_PDEATHSIG), its mounts are in a mount namespace that goes with them, so
there is nothing to unmount. What is left are empty cgroups, which :meth:`Sandbox.stop` removes.

``/etc/systemd/system`` is emptied in the overlay: nothing that is enabled on this machine runs. A
tree made by ``make install DESTDIR=`` is copied over the root, its ``/opt/geoos`` bound read-only.
``systemctl reboot`` inside works: the next boot finds what the last one wrote.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SECONDS = 60.0
_ROOT = "/run/geoos-sandbox/root"
_CONTROLLERS = ("memory", "cpu", "cpuacct", "cpu,cpuacct", "pids", "devices", "blkio")

# Static units, wanted from /usr/lib, that do nothing here but take time.
_MASKED = [
    "prometheus.service",
    "getty.target",
    "getty-static.service",
    "console-getty.service",
    "systemd-logind.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-user-sessions.service",
    "systemd-ask-password-wall.path",
    "systemd-ask-password-console.path",
    "systemd-firstboot.service",
    "systemd-random-seed.service",
    "systemd-machine-id-commit.service",
    "systemd-binfmt.service",
    "systemd-initctl.socket",
    "systemd-journald-audit.socket",
    "systemd-journal-flush.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-modules-load.service",
    "systemd-sysctl.service",
    "kmod-static-nodes.service",
    "systemd-repart.service",
    "proc-sys-fs-binfmt_misc.automount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "tmp.mount",
    "systemd-boot-random-seed.service",
    "ldconfig.service",
    "systemd-journal-catalog-update.service",
    "systemd-update-done.service",
    "systemd-hwdb-update.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "cryptsetup.target",
    "integritysetup.target",
    "veritysetup.target",
    "remote-fs.target",
    "machines.target",
]
_FOR_USERS = ("systemd-logind.service", "systemd-user-sessions.service")

# Runs in a mount namespace of its own. The tmpfs on /run takes all that is written, and keeps
# nspawn's locks off this machine.
_HOLDER = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=2g tmpfs /run
base=/run/geoos-sandbox R=$ROOT
mkdir -p $base/upper $base/work "$R"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$R"

rm -rf "$R"/etc/systemd/system/* "$R"/etc/systemd/*.conf.d "$R"/etc/rc?.d/* "$R"/var/log/journal
rm -rf "$R"/usr/lib/systemd/*-environment-generators "$R"/opt/geoos "$R"/etc/geoos
for each in "$R"/usr/lib/systemd/system-generators/*; do
    [ "${each##*/}" = systemd-run-generator ] || rm -f "$each"
done
mkdir -p "$R"/etc/systemd/system "$R"/etc/systemd/journald.conf.d "$R"/opt/geoos
for unit in $MASKED; do ln -sf /dev/null "$R/etc/systemd/system/$unit"; done
ln -s /usr/lib/systemd/system/multi-user.target "$R/etc/systemd/system/default.target"
# Emptying /tmp at boot would empty the overlay's view of it: keep it as it is.
ln -sf /dev/null "$R/etc/tmpfiles.d/tmp.conf"
: >"$R/etc/fstab"; : >"$R/etc/machine-id"; echo sandbox >"$R/etc/hostname"
printf '[Journal]\\nStorage=persistent\\nRateLimitIntervalSec=0\\nAudit=no\\n' \\
    >"$R/etc/systemd/journald.conf.d/90-sandbox.conf"

cp -a "$INSTALLED/etc" "$INSTALLED/usr" "$R/"
[ -z "$WRITABLE_OPT" ] || cp -a "$INSTALLED/opt" "$R/"

# nspawn mounts the controllers of cgroup v1 read-only; in a cgroup namespace of our own they may be
# writable, and only then MemoryMax= and TasksMax= act.
cat >"$R/geoos-init" <<"EOF"
#!/bin/sh
for each in memory cpu cpuacct pids devices blkio; do
    [ -d /sys/fs/cgroup/$each ] && mount -o remount,bind,rw /sys/fs/cgroup/$each 2>/dev/null
done
exec /lib/systemd/systemd --system --show-status=false --log-target=journal
EOF
chmod 755 "$R/geoos-init"
# It ends with 133 when the container wants to boot again.
while :; do
    code=0; systemd-nspawn "$@" || code=$?
    [ $code = 133 ] || exit $code
done
"""


def unsupported() -> str | None:
    """Why no sandbox can be made here; None where it can."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("systemd-nspawn", "unshare", "setpriv", "nsenter"):
        if not shutil.which(tool, path=PATH):
            return f"no {tool}: apt install systemd-container util-linux"
    if not any(Path("/usr/bin", each).exists() for each in ("dbus-daemon", "dbus-broker")):
        return "no dbus: apt install dbus"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "the kernel has no overlayfs"
    return None


class Sandbox:
    """One container; ``with Sandbox(tree) as sandbox: sandbox.run("systemctl", "status")``."""

    def __init__(self, installed: Path, log: Path, *, users: bool = False, writable: bool = False):
        self.installed, self.log = installed, log
        self.users, self.writable = users, writable
        self.name = f"geoos-sandbox-{os.getpid()}-{secrets.token_hex(3)}"
        self.cgroups = _cgroups(self.name)
        self.process: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Boot; returns when systemd says that it runs."""
        for each in self.cgroups:
            each.mkdir()
        masked = [each for each in _MASKED if not (self.users and each in _FOR_USERS)]
        environ = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
            "ROOT": _ROOT,
            "INSTALLED": str(self.installed),
            "MASKED": " ".join(masked),
            "WRITABLE_OPT": "yes" if self.writable else "",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._launcher(), *self._nspawn()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                cwd="/",
                start_new_session=True,
            )
        self.wait_until_up()

    def _launcher(self):
        """Join the cgroups, die with the tests, make the namespaces."""
        join = 'for c in $CGROUPS; do echo $$ >"$c/cgroup.procs"; done; exec "$@"'
        guard = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'  # we may be dead before the prctl
        cgroups = " ".join(map(str, self.cgroups))
        return [
            *("env", f"CGROUPS={cgroups}", "sh", "-c", join, "sh"),
            *("setpriv", "--pdeathsig", "KILL", "sh", "-c", guard, str(os.getpid())),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
            *("bash", "-c", _HOLDER, "holder"),
        ]

    def _nspawn(self):
        opt = [] if self.writable else [f"--bind-ro={self.installed}/opt/geoos:/opt/geoos"]
        return [
            *("--quiet", f"--directory={_ROOT}", f"--machine={self.name}", "--register=no"),
            *("--keep-unit", "--private-network", "--link-journal=no", "--console=pipe"),
            *("--resolv-conf=off", "--timezone=off", f"--uuid={secrets.token_hex(16)}"),
            # What IPAddressAllow= and DevicePolicy= need, and what Python's keyring filter meets.
            "--capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON",
            "--system-call-filter=bpf @keyring",
            *opt,
            "/geoos-init",
        ]

    def wait_until_up(self, not_leader=0):
        """Wait until systemd is up, in a process other than *not_leader*."""
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            self.leader = self._find_leader()
            if self.leader not in (0, not_leader) and self._is_up():
                return
            time.sleep(0.05)
        raise RuntimeError(f"no systemd: {self.log.read_text(errors='replace')[-3000:]}")

    def _is_up(self):
        if not Path(f"/proc/{self.leader}/root/run/systemd/private").exists():
            return False
        asked = self.run("systemctl", "is-system-running", "--wait", check=False)
        return asked.strip() in ("running", "degraded")

    def _find_leader(self):
        """The container's first process: systemd, first in a PID namespace two below ours."""
        todo = _children(self.process.pid)
        while todo:
            pid = todo.pop()
            with suppress(OSError, IndexError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                pids = next(line for line in lines if line.startswith("NSpid")).split()
                program = Path(f"/proc/{pid}/exe").readlink().name
                if len(pids) >= 4 and pids[-1] == "1" and program == "systemd":
                    return pid
            todo += _children(pid)
        return 0

    def reboot(self):
        """Boot again, on what the last boot wrote."""
        before = self.leader
        self.run("systemctl", "start", "--no-block", "reboot.target")  # there is no logind to ask
        self.wait_until_up(not_leader=before)

    def argv(self, *command, user=None, group=None, environ=None):
        """The command line that runs *command* inside."""
        inside = {
            "PATH": PATH,
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "SYSTEMD_COLORS": "0",
            "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/dbus/system_bus_socket",
            **(environ or {}),
        }
        enter = ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net"]
        enter += ["--pid", "--cgroup", "--", "env", "-i", "--chdir=/"]
        enter += [f"{key}={value}" for key, value in inside.items()]
        if user:
            enter += ["setpriv", f"--reuid={user}", f"--regid={group or user}", "--init-groups"]
            enter += ["--inh-caps=-all"]
        return [*enter, *command]

    def run(self, *command, check=True, timeout=60.0, **who):
        """Standard output of *command*; with ``check``, its failure is an AssertionError."""
        done = self.call(*command, timeout=timeout, **who)
        if check:
            assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def call(self, *command, timeout=60.0, **who):
        """Run *command* to its end, whatever that is."""
        return subprocess.run(
            self.argv(*command, **who), capture_output=True, text=True, timeout=timeout, check=False
        )

    def stop(self):
        """Kill everything in it and remove its cgroups."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        deadline = time.monotonic() + 10
        left = self.cgroups
        while left and time.monotonic() < deadline:
            left = [each for each in left if not _removed(each)]
            time.sleep(0.02)


def _children(pid):
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]
    return []


def _cgroups(name):
    """One directory of ours below our own cgroup, in each hierarchy that systemd uses."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        base = Path("/sys/fs/cgroup")
        if controllers == "name=systemd":
            root = base / "systemd"
        elif controllers == "":
            root = base / "unified" if (base / "unified").is_dir() else base
            if not (root / "cgroup.controllers").exists():
                continue
        elif controllers in _CONTROLLERS:
            root = base / controllers
        else:
            continue
        if root.is_dir():
            found.append(root / path.lstrip("/") / name)
    return found


def _removed(cgroup):
    """Remove what is empty in and of *cgroup*; whether it is gone."""
    for each in sorted(cgroup.rglob("*/"), key=lambda path: -len(path.parts)):
        with suppress(OSError):
            each.rmdir()
    with suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()
