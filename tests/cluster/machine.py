"""A machine: namespaces for PIDs, mounts, network and host name, on the cluster's bridge, with an init of its own.

`start` makes one, `Machine.kill` ends it at once as a power failure would. `find` knows machines again that another
process of ours started: by the folder in the command line of their init, which no other process has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .network import BRIDGE, HOST_ADDRESS, IP, NETWORK_BITS, Cable

INIT = Path(__file__).with_name("machine_init.py")
CGROUPS = Path("/sys/fs/cgroup")
CGROUP = "bowerbird-cluster"
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Service:
    """A program that the machine's init keeps running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """One that runs: `holder` is the process whose death is the machine's, `init` its PID 1 as this machine counts."""

    name: str
    folder: Path
    holder: int
    init: int

    def command(self, *command: str | Path) -> list[str]:
        """The command as it is run inside of the machine."""
        inside = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--net", "--uts"]
        return [*inside, "--", *(str(each) for each in command)]

    def run(self, *command: str | Path) -> str:
        """What a command inside of the machine printed; raises CalledProcessError."""
        return subprocess.run(self.command(*command), check=True, capture_output=True, text=True).stdout

    def pid_of(self, service: str) -> int:
        """A service's process ID as this machine counts; raises LookupError while it does not run."""
        for pid in children(self.init):
            if Path(command_line(pid)[0]).name == service:
                return pid
        raise LookupError(f"{service} does not run on {self.name}")

    def signal(self, service: str, number: signal.Signals) -> None:
        """Sends a signal to a service; one that ends by it is started again a second later."""
        os.kill(self.pid_of(service), number)

    def kill(self) -> None:
        """Ends everything in it at once; its mounts and interfaces go with it."""
        for pid in (self.init, self.holder):
            if pid and is_ours(pid, self.folder):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(is_ours(pid, self.folder) for pid in (self.init, self.holder)):
            reap(self.holder)
            time.sleep(0.02)


def start(name: str, folder: Path, cable: Cable, services: Sequence[Service]) -> Machine:
    """A machine on the bridge that runs these services; raises CalledProcessError when it cannot be made."""
    for each in ("var/lib", "log"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    description = folder / "machine.json"
    wanted = {"name": name, "folder": str(folder), "services": [asdict(each) for each in services]}
    description.write_text(json.dumps(wanted, default=list))
    new = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--net", "--uts"]
    with (folder / "log" / "init.log").open("ab") as log:
        holder = subprocess.Popen(
            [*new, sys.executable, "-I", "-S", str(INIT), str(description)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    machine = Machine(name, folder, holder.pid, first_child(holder.pid))
    plug_in(machine, cable)
    assert holder.stdin is not None
    holder.stdin.write(b"go\n")
    holder.stdin.close()
    holder.returncode = 0  # it outlives this process: nobody waits for it, and Popen need not warn
    return machine


def plug_in(machine: Machine, cable: Cable) -> None:
    """Connects the machine with the bridge."""
    port = f"{BRIDGE}-{machine.name}"[:15]
    ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(machine.init))
    ip("link", "set", port, "master", BRIDGE, "up")
    inside = ["nsenter", "--target", str(machine.init), "--net", "--"]
    for arguments in (
        ("link", "set", "lo", "up"),
        ("addr", "add", f"{cable.address}/{NETWORK_BITS}", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("route", "add", "default", "via", HOST_ADDRESS),  # leads nowhere; the kubelet wants one to know its address
        *cable.routes,
    ):
        subprocess.run([*inside, IP, *arguments], check=True)


def find(folder: Path) -> list[Machine]:
    """Every machine below a cluster's folder that still runs, whoever started it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        line = command_line(pid)
        if line[:1] == ["unshare"] and line[-1].startswith(f"{folder}/") and line[-1].endswith("/machine.json"):
            inner = children(pid)
            home = Path(line[-1]).parent
            found.append(Machine(home.name, home, pid, inner[0] if inner else 0))
    return found


def remove_cgroups() -> None:
    """Takes away the groups that the machines' pods were in; a group can go only when it is empty."""
    roots = [*CGROUPS.glob(f"*/{CGROUP}"), CGROUPS / CGROUP]
    for root in filter(Path.exists, roots):
        for group, _, _ in os.walk(root, topdown=False):
            _remove_cgroup(Path(group))


def make_cgroups(name: str) -> str:
    """The root of a machine's pods in every hierarchy; returns its name as the kubelet wants it."""
    hierarchies = [each for each in CGROUPS.iterdir() if each.is_dir() and not each.is_symlink()]
    unified = (CGROUPS / "cgroup.controllers").exists()
    for hierarchy in [CGROUPS] if unified else hierarchies:
        group = hierarchy / CGROUP / name
        group.mkdir(parents=True, exist_ok=True)
        for needed in ("cpuset.cpus", "cpuset.mems"):  # cgroup v1: empty in a new group, and nothing starts in it then
            for each in (group.parent, group):
                if not unified and (each / needed).exists():
                    (each / needed).write_text((hierarchy / needed).read_text())
        if unified:
            for each in (CGROUPS, group.parent, group):
                wanted = " ".join(f"+{each}" for each in (CGROUPS / "cgroup.controllers").read_text().split())
                (each / "cgroup.subtree_control").write_text(wanted)
    return f"/{CGROUP}/{name}"


def _remove_cgroup(group: Path) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # the kernel is still taking the last process out of it


def children(pid: int) -> list[int]:
    """The child processes of a process; none of one that has ended."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def command_line(pid: int) -> list[str]:
    """A process' arguments; none of one that has ended, or of the kernel's own."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_ours(pid: int, folder: Path) -> bool:
    """Whether a process ID still is that of a machine's holder or init: IDs are given again."""
    return any(argument.startswith(f"{folder}/") for argument in command_line(pid))


def first_child(pid: int) -> int:
    """The process that another one forks; raises TimeoutError."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if found := children(pid):
            return found[0]
        time.sleep(0.005)
    raise TimeoutError(f"process {pid} started nothing: is this root, and may it make namespaces?")


def reap(pid: int) -> None:
    """Takes note of a child's end, where it is one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def ip(*arguments: str) -> None:
    """`ip`, which must succeed."""
    subprocess.run([IP, *arguments], check=True, capture_output=True)
