"""Free ports."""

import socket

import pytest

from brownout.errors import ServerError
from brownout.servers import ports
from brownout.servers.ports import free_port, free_ports, held_ports


def test_a_port_is_handed_out_once() -> None:
    found = free_ports(50)
    assert len({*found, free_port()}) == 51
    assert all(port in ports.RANGE for port in found)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind) -> None:
    spare = free_port()
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ports, "_untried", [spare, taken.getsockname()[1]])  # tried from the end
        assert free_port() == spare


def test_it_says_so_when_no_port_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_untried", [])
    with pytest.raises(ServerError, match="none is left of 20000 to 31999"):
        free_port()


def test_a_held_port_is_free_for_nobody_but_a_server_that_may_share_it() -> None:
    (port,) = held_ports(1)
    assert not ports._is_free(port)  # as any other run would ask
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    for _ in range(2):  # it may stop and listen again
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port), timeout=5):
            assert not ports._is_free(port)
