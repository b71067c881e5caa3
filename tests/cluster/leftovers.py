"""Whether `down` takes away what a killed start left: processes, mounts, links, routes, packet filters, groups, files.

    python -m tests.cluster leftovers      kills a start at each of its steps, takes it down, and compares

It is a command and no test, since a machine has one cluster and the tests share it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import cluster
from .machine import CGROUP, CGROUPS, command_line
from .network import IP

STEPS = ("", "the API server answers", "both nodes are Ready", "cluster DNS and KEDA are available")
"""What a start has said when it is killed; nothing before its first machine is there."""


def leftovers() -> dict[str, list[str]]:
    """Step at which a start was killed -> what is there after `down` that was not there before; nothing of a step is
    nothing. Raises AssertionError where a start was killed in vain, since it had left no trace to take away."""
    cluster.down()
    before = traces()
    left = {}
    for step in STEPS:
        kill_at(step)
        assert traces() - before, step
        cluster.down()
        if rest := traces() - before:
            left[step] = sorted(rest)
    return left


def kill_at(step: str) -> None:
    """Starts a cluster in a process of its own, and kills that when it says so; it takes nothing away itself."""
    command = [sys.executable, "-m", "tests.cluster", "up"]
    starting = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert starting.stderr is not None
    if step:
        said = next((line for line in starting.stderr if step in line), None)
        assert said is not None, f"it never said: {step}"
    else:
        while starting.poll() is None and not cluster.home().exists():
            time.sleep(0.01)
    starting.kill()
    starting.wait()
    starting.stderr.close()


def traces() -> frozenset[str]:
    """What of a cluster is on this machine, as far as the kernel knows: a line each."""
    home = str(cluster.home())
    lines = [f"mount {line}" for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    lines += [f"file {home}"] if cluster.home().exists() else []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and any(home in argument for argument in command_line(int(entry.name))):
            lines.append(f"process {' '.join(command_line(int(entry.name)))}")
    lines += [f"group {group}" for group in (*CGROUPS.glob(f"*/{CGROUP}"), *CGROUPS.glob(CGROUP))]
    for arguments in (["-brief", "link"], ["route", "show", "table", "all"], ["netns", "list"]):
        lines += [f"{arguments[-1]} {line.split('@')[0]}" for line in printed(IP, *arguments)]
    lines += [f"filter {line}" for line in printed(shutil.which("iptables-save") or "") if line.startswith("-A")]
    return frozenset(lines)


def printed(*command: str) -> list[str]:
    """The lines that a command prints; none where it is not installed."""
    if not command[0]:
        return []
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
