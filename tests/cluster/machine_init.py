"""PID 1 of a machine: mounts what is its own, starts its services, starts one again that ends, reaps everything else.

Started by `machine` inside of new namespaces with the machine's description as a file; a line on standard input says
that the network is there. Nothing but the standard library: this is the machine's whole operating system.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESTART_SECONDS = 1.0
"""What systemd's units of kubelet and containerd wait, about."""


def main(description: Path) -> None:
    """Never returns; ends with the machine."""
    machine = json.loads(description.read_text())
    sys.stdin.readline()
    mount_own(Path(machine["folder"]))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/kernel/hostname").write_text(machine["name"])
    supervise(machine["services"], Path(machine["folder"]) / "log")


def mount_own(folder: Path) -> None:
    """/proc of its own processes, /var and /run of its own: what is compiled into the kubelet is below these."""
    run("mount", "--make-rprivate", "/")
    run("mount", "--make-rshared", "/")  # among its own: what the kubelet mounts must reach the containers
    run("mount", "-t", "proc", "proc", "/proc")
    run("mount", "--bind", folder / "var", "/var")
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for needed in ("/var/lib/kubelet", "/var/log", "/run/lock"):
        Path(needed).mkdir(parents=True, exist_ok=True)
    Path("/var/run").symlink_to("/run")


def supervise(services: list[dict[str, Any]], log: Path) -> None:
    """Each service is started, and again a second after it ended; orphans are reaped."""
    running: dict[int, dict[str, Any]] = {}
    due = [(0.0, service) for service in services]
    while True:
        now = time.monotonic()
        for at, service in [each for each in due if each[0] <= now]:
            due.remove((at, service))
            running[start(service, log)] = service
        pid = reap()
        if pid == 0:
            time.sleep(0.05)
        elif ended := running.pop(pid, None):
            due.append((time.monotonic() + RESTART_SECONDS, ended))


def start(service: dict[str, Any], log: Path) -> int:
    """The process ID of a service that was started just now."""
    with (log / f"{service['name']}.log").open("ab") as output:
        process = subprocess.Popen(
            service["command"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | service["environment"],
            start_new_session=True,
        )
    process.returncode = 0  # `reap` waits for it; Popen must not
    return process.pid


def reap() -> int:
    """The process ID of a child that ended, or 0."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return 0


def run(*command: str | Path) -> None:
    """A command that must succeed."""
    subprocess.run([str(each) for each in command], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
