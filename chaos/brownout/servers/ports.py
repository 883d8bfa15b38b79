"""Free ports on 127.0.0.1, each handed out once in the life of this process."""

import random
import socket

from brownout.errors import ServerError

__all__ = ["free_port", "free_ports", "held_ports"]

RANGE = range(20_000, 32_000)
"""Below the ports that the kernel gives to outgoing connections (32768 and up), which come and go by themselves."""

_untried = random.sample(RANGE, len(RANGE))  # at random: two runs at once seldom meet on the same port

_held: list[int] = []  # descriptors, never closed: the end of the process lets them go


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on, neither TCP nor UDP.

    Raises:
        ServerError: every port of ``RANGE`` was handed out or is taken.
    """
    while _untried:
        port = _untried.pop()
        if _is_free(port):
            return port
    raise ServerError("ports", f"none is left of {RANGE.start} to {RANGE.stop - 1} on 127.0.0.1")


def free_ports(count: int) -> tuple[int, ...]:
    """As many different free ports, as `free_port` finds them."""
    return tuple(free_port() for _ in range(count))


def held_ports(count: int) -> tuple[int, ...]:
    """As many different free ports, for later: no other run finds one of them free while this process lives.

    Each is bound and not listened on, with ``SO_REUSEADDR``: a server that sets it as well, as Toxiproxy does, may
    listen there whenever it likes, stop, and listen again. Meanwhile a connection is refused.

    Raises:
        ServerError: no port is left.
    """
    return tuple(_held_port() for _ in range(count))


def _held_port() -> int:
    while True:
        port = free_port()
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:  # taken since it was found free
            holder.close()
        else:
            _held.append(holder.detach())
            return port


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
