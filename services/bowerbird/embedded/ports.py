"""Ports: a free one from the operating system, and who holds one that is not free."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

import psutil

from bowerbird.embedded.facts import PortTaken

BACKLOG = 2048
"""Connections that may wait while the gateway restarts."""


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nobody listens on at this moment; all are held until the last is found."""
    with ExitStack() as held:
        sockets = [held.enter_context(_bound(host, 0)) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def require_free(host: str, port: int) -> None:
    """Raises PortTaken, naming the process that listens there when the system tells, or why else it cannot be had."""
    try:
        _bound(host, port).close()
    except OSError as error:
        raise PortTaken(_reason(host, port, error)) from error


def listening(host: str, port: int) -> socket.socket:
    """A socket that connections may already wait at; raises PortTaken."""
    try:
        bound = _bound(host, port)
    except OSError as error:
        raise PortTaken(_reason(host, port, error)) from error
    bound.listen(BACKLOG)
    return bound


def holder_of(port: int) -> psutil.Process | None:
    """The process that listens on a port; None when there is none or the system does not tell (another user's)."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for each in connections:
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
            return psutil.Process(each.pid)
    return None


def _bound(host: str, port: int) -> socket.socket:
    # getaddrinfo: the host may be a name or an IPv6 address. SO_REUSEADDR: a stack that just stopped left its
    # connections in TIME_WAIT, which is no reason to refuse (servers bind the same way).
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _reason(host: str, port: int, error: OSError) -> str:
    remedy = "Stop it, or choose another port: BOWERBIRD_PORT=0 takes a free one."
    if error.errno != errno.EADDRINUSE:
        return f"Port {port} of {host} cannot be used: {error.strerror or error}. {remedy}"
    holder = holder_of(port)
    if holder is None:
        return f"Port {port} of {host} is taken by a process that the system does not name. {remedy}"
    with holder.oneshot():
        command = " ".join(holder.cmdline())[:120] or holder.name()
    return f"Port {port} of {host} is taken by process {holder.pid}: {command}. {remedy}"
