"""A socket that listens at an address: bound by the gateway itself, or by who holds it for the gateway (`holding`)."""

from __future__ import annotations

import socket

BACKLOG = 2048
"""Connections that wait to be accepted: those of a second or two, while a gateway is started again."""


def bind(host: str, port: int) -> socket.socket:
    """Listens at an address, port 0 being any that is free; raises SystemExit naming a port that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SystemExit(
            f"Cannot listen at {host} port {port}: {error.strerror}. Set BOWERBIRD_PORT to another port, or to 0 for a "
            "free one."
        ) from error
    return listener
