"""How each fault is undone, at the place where it is, and proved to be undone."""

import json
import signal
import socket
import time
from typing import Any, NamedTuple

from brownout.errors import FaultError
from brownout.mending.process import Identity, state_of

__all__ = ["Undo", "gone_with_boot", "undo"]

ANSWER_S = 1.0
"""How long Toxiproxy may take over one answer before it is asked again; the usual one takes 2 ms."""

ENGINE_S = 10.0
"""How long Docker may take to remove a container; the usual one takes half a second."""

MADE_S = 2.0
"""How long Docker may still be making a container after whoever asked for it has gone; the usual one takes 0.2 s."""

POLL_S = 0.1

NOT_FOUND = 404
UNDER_WAY = 409
REFUSED = 400


class Undo(NamedTuple):
    """What undoes a fault, whoever did it and whoever owns what it was done to.

    Attributes:
        how: ``resume`` a process, ``take-off`` a toxic, ``switch-on`` or ``destroy`` a proxy, ``remove`` a container.
        process: with its end the fault has ended as well: the paused one, or the Toxiproxy; None: not known.
        server: ``host:port`` of Toxiproxy's API, or the path of the Docker engine's socket.
        proxy: its name.
        toxic: its name.
        container: its name.
    """

    how: str
    process: Identity | None = None
    server: str = ""
    proxy: str = ""
    toxic: str = ""
    container: str = ""

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "Undo":
        """The same, from its JSON."""
        process = fields["process"]
        return cls(**{**fields, "process": process and Identity(*process)})

    def __str__(self) -> str:
        match self.how:
            case "resume":
                return f"pause of process {self.process.pid if self.process else '?'}"
            case "take-off":
                return f"{self.toxic} on {self.proxy}"
            case "destroy":
                return f"proxy {self.proxy}"
            case "remove":
                return f"container {self.container}"
        return f"outage of {self.proxy}"


def undo(fault: Undo) -> str:
    """Undo a fault where it is still in force; returns how it came to be gone, as was read back.

    Raises:
        FaultError: it may still be in force.
    """
    if fault.process and not fault.process.alive:
        return f"gone with process {fault.process.pid}"
    try:
        if fault.container:
            return _remove(fault)
        return _resume(fault) if fault.how == "resume" else _mend_proxy(fault)
    except (OSError, ValueError, LookupError, TypeError) as error:  # refused, or no answer of theirs
        if isinstance(error, ConnectionRefusedError) and fault.proxy:
            return f"gone with Toxiproxy, nobody listens at {fault.server}"
        whose = "Docker" if fault.container else "Toxiproxy"
        where = f"{whose} at {fault.server}" if fault.server else "its signal"
        raise FaultError(str(fault), f"{where}: {error}") from None


def gone_with_boot(fault: Undo) -> bool:
    """Whether a restart of this machine ended a fault: not in a Toxiproxy on another one, and a container is there."""
    return fault.process is not None or fault.server.startswith(("127.", "localhost:", "[::1]:"))


def _resume(fault: Undo) -> str:
    assert fault.process  # noqa: S101  what is paused has a pid
    fault.process.send(signal.SIGCONT)
    if fault.process.alive and state_of(fault.process.pid) == "T":
        raise FaultError(str(fault), "it is still paused")
    return "resumed"


def _remove(fault: Undo) -> str:
    """Remove a container; one that is not there may be on its way, by the last order of who has gone."""
    path = f"/containers/{fault.container}"
    last_s = time.monotonic() + MADE_S
    while _ask(fault.server, "GET", f"{path}/json") is None:
        if time.monotonic() > last_s:
            return "not there"
        time.sleep(POLL_S)
    _ask(fault.server, "DELETE", f"{path}?force=true&v=true")
    if _ask(fault.server, "GET", f"{path}/json") is not None:
        raise FaultError(str(fault), "it is still there")
    return "removed"


def _mend_proxy(fault: Undo) -> str:
    path = f"/proxies/{fault.proxy}"
    match fault.how:
        case "take-off":
            _ask(fault.server, "DELETE", f"{path}/toxics/{fault.toxic}")
        case "destroy":
            _ask(fault.server, "DELETE", path)
        case _:
            _ask(fault.server, "POST", path, {"enabled": True})
    proxy = _ask(fault.server, "GET", path)
    if proxy is None:
        return "removed" if fault.how == "destroy" else "gone with its proxy"
    if fault.how == "destroy":
        raise FaultError(str(fault), "it is still there")
    if fault.how == "take-off" and fault.toxic in (toxic["name"] for toxic in proxy["toxics"]):
        raise FaultError(str(fault), "it is still there")
    if fault.how == "switch-on" and not proxy["enabled"]:
        raise FaultError(str(fault), "it is still off")
    return "taken off" if fault.how == "take-off" else "switched on"


def _ask(server: str, method: str, path: str, body: object = None) -> Any:
    """The answer of Toxiproxy or Docker; None where there is none of that name.

    http.client alone would double the watchdog's start.

    Raises:
        OSError: there was no answer, or it was a refusal.
        ValueError: it was none of theirs.
    """
    content = json.dumps(body).encode() if body else b""
    host = "docker" if server.startswith("/") else server
    head = f"{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
    with _connected(server) as connection:
        connection.sendall(head.encode() + content)
        said = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head_said, _, body_said = said.partition(b"\r\n\r\n")
    status = int(head_said.split(b" ", 2)[1]) if head_said.startswith(b"HTTP/1.") else 0
    if status == NOT_FOUND:
        return None
    if (not status or status >= REFUSED) and (method, status) != ("DELETE", UNDER_WAY):
        raise OSError(f"status {status}, {body_said[:100].decode(errors='replace').strip()}")
    return json.loads(body_said) if body_said else {}


def _connected(server: str) -> socket.socket:
    if server.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ENGINE_S)
        try:
            connection.connect(server)
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = server.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), ANSWER_S)
