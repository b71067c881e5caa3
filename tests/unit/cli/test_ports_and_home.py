"""Facts about ports, the lock on BOWERBIRD_HOME, and what a stack is made of."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bowerbird.embedded.facts import HomeLocked, PortTaken
from bowerbird.embedded.home import locked
from bowerbird.embedded.ports import free_ports, holder_of, require_free
from bowerbird.embedded.stack import STAGES, Stack, embedded_stack
from bowerbird.settings import Settings


def planned(settings: Settings) -> Stack:
    """A stack that is not started."""
    stack = embedded_stack(settings)
    assert stack.listener is not None
    stack.listener.close()
    return stack


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        require_free("127.0.0.1", port)


def test_a_taken_port_is_named_with_the_process_that_holds_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        found = holder_of(port)
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(PortTaken, match=rf"Port {port} .* process {os.getpid()}: .*BOWERBIRD_PORT=0"):
            require_free("127.0.0.1", port)


def test_an_address_of_another_machine_is_no_taken_port() -> None:
    with pytest.raises(PortTaken, match=r"Port 8000 of 192\.0\.2\.1 cannot be used"):
        require_free("192.0.2.1", 8000)


def test_a_home_has_one_holder_and_says_who(tmp_path: Path) -> None:
    home = tmp_path / "not" / "there"
    other = (
        f"from pathlib import Path; from bowerbird.embedded.home import locked; locked(Path({str(home)!r})).__enter__()"
    )
    with locked(home):
        refused = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
        assert f"Process {os.getpid()} already runs" in refused.stderr
        with pytest.raises(HomeLocked), locked(home):
            pass
    with locked(home):
        pass


def test_a_stack_is_the_gateway_and_four_bentoml_services_that_it_knows(tmp_path: Path) -> None:
    stack = planned(Settings(home=tmp_path, port=0))
    assert [service.name for service in stack.services] == ["gateway", *STAGES]
    for stage in stack.stages:
        assert "serve" in stage.command
        assert STAGES[stage.name] in stage.command
        assert stage.environment["BENTOML_DO_NOT_TRACK"] == "True"
        variable = f"BOWERBIRD_{stage.name.replace('-', '_').upper()}_URL"
        assert stack.gateway.environment[variable] == stage.url
    assert len({service.url for service in stack.services}) == 5


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")],  # noqa: S104
)
def test_the_gateway_is_told_by_an_address_that_can_be_typed(tmp_path: Path, host: str, url: str) -> None:
    assert planned(Settings(home=tmp_path, host=host, port=0)).gateway.url.startswith(url)


def test_the_gateway_inherits_a_socket_that_is_open_before_it_starts(tmp_path: Path) -> None:
    stack = embedded_stack(Settings(home=tmp_path, port=0))
    assert stack.listener is not None
    with stack.listener as listener:
        port = listener.getsockname()[1]
        assert stack.gateway.descriptors == (listener.fileno(),)
        assert stack.gateway.environment["BOWERBIRD_LISTEN_FD"] == str(listener.fileno())
        assert stack.gateway.url.endswith(f":{port}")
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(PortTaken):
            embedded_stack(Settings(home=tmp_path, port=port))


def test_a_stack_whose_port_is_taken_is_not_even_planned(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder, pytest.raises(PortTaken):
        embedded_stack(Settings(home=tmp_path, port=holder.getsockname()[1]))
