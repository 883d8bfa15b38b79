"""What can be asked of a Toxiproxy server, with toxiproxy-python made safe: answers are checked and read back.

The client keeps its server in process-wide class attributes, knows no time-out, lets most refusals pass as
success and obeys proxy variables of the environment. So the consumer that it sends through is replaced by one
for each thread; and what it does without looking at the answer is looked at here.
"""

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec
import requests
import toxiproxy.exceptions
import toxiproxy.proxy
import toxiproxy.server

from brownout.cell import Toxic
from brownout.errors import CellError, FaultError

__all__ = [
    "FAILURES",
    "ProxyState",
    "add",
    "bind",
    "carried",
    "check",
    "create",
    "destroy",
    "heal",
    "name_of",
    "proxies",
    "remove",
    "state",
    "switch",
]

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")  # a slash, for one, would break the client's paths
_SAMPLE = re.compile(
    r'^toxiproxy_proxy_received_bytes_total\{direction="(\w+)",.*proxy="([^"]*)".*\} (\S+)$', re.MULTILINE
)
_NOT_FOUND = 404


class ProxyState(msgspec.Struct, frozen=True):
    """A proxy as the server has it."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[dict[str, Any], ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether something of a fault is left on it."""
        return not self.enabled or bool(self.toxics)

    def __str__(self) -> str:
        held = ", ".join(f"{toxic['type']} {toxic['attributes']}" for toxic in self.toxics)
        return f"{self.name} is {'on' if self.enabled else 'off'}" + (f" and holds {held}" if held else "")


class RefusedError(Exception):
    """The server answered with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}, {text.strip()}")
        self.status = status


class _Consumer:
    """Sends the client's requests to one server, each on a connection of its own.

    The server closes idle connections after 60 s, which is how long a breaker stays open: a kept one would
    now and then be closed just as the next change is sent on it.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self._base = f"http://{address}"
        self._timeout_s = timeout_s

    def get(self, path: str, **options: Any) -> requests.Response:
        return self._send("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self._send("POST", path, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return self._send("DELETE", path, **options)

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # HTTP_PROXY would be obeyed even for 127.0.0.1
            response = session.request(method, self._base + path, timeout=self._timeout_s, **options)
        if not response.ok:
            raise RefusedError(response.status_code, response.text)
        return response


FAILURES = (
    RefusedError,
    requests.RequestException,
    toxiproxy.exceptions.ProxyExists,
    msgspec.ValidationError,
)
"""How a call fails when the server refuses, does not answer, or is another program."""

_consumer: ContextVar[_Consumer] = ContextVar("_consumer")


class _CurrentConsumer:
    """Stands where the client looks for its consumer; without a server bound, every use is a LookupError."""

    def __getattr__(self, verb: str) -> Any:
        return getattr(_consumer.get(), verb)


toxiproxy.proxy.APIConsumer = toxiproxy.server.APIConsumer = _CurrentConsumer()


def bind(address: str, timeout_s: float) -> None:
    """Have this thread talk to the server at an address."""
    _consumer.set(_Consumer(address, timeout_s))


def _client(name: str) -> Any:
    """Make the client's handle of a proxy; the server is asked nothing yet."""
    return toxiproxy.proxy.Proxy(name=name, listen="", upstream="", enabled=True)


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        if error.status != _NOT_FOUND:
            raise


def check(name: str, listen: str) -> None:
    """Refuse a name or address that would lead somewhere else."""
    if not _NAME.fullmatch(name):
        raise CellError(name, "is no name for a proxy", "use lower-case letters, digits, '_', '-' and dots")
    host, _, port = listen.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise CellError(name, f"cannot listen on {listen!r}", "give an IP address and a port") from None
    if not port.isdecimal():
        raise CellError(name, f"cannot listen on {listen!r}", "give an IP address and a port")


def create(name: str, listen: str, upstream: str) -> ProxyState:
    """Make a proxy and read it back."""
    toxiproxy.server.Toxiproxy().create(name=name, listen=listen, upstream=upstream, enabled=True)
    made = state(name)
    listens = made.listen == listen or (listen.endswith(":0") and made.listen.startswith(listen[:-1]))
    if not listens or made.upstream != upstream or made.dirty:
        raise CellError(name, f"{listen} to {upstream} was asked for, {made!r} was made")
    return made


def destroy(name: str) -> None:
    """Remove a proxy, if there is one."""
    with _missing_is_fine():
        _client(name).destroy()


def add(name: str, toxic: Toxic) -> dict[str, Any]:
    """Put a toxic on and read it back; one that is not what was asked for is taken off again."""
    _client(name).add_toxic(
        type=toxic.type,
        name=name_of(toxic),
        stream="downstream",
        toxicity=1.0,  # it is drawn once a connection, so anything less is luck
        attributes=toxic.attributes,
    )
    kept = _client(name).get_toxic(name_of(toxic))
    if not _agrees(kept, toxic):
        remove(name, name_of(toxic))
        had = "none" if kept is None else f"{kept.type} {kept.attributes}"
        raise FaultError(
            name,
            f"{toxic.type} {toxic.attributes} was asked for, the server had {had}",
            "is an attribute misspelt?",
        )
    return dict(vars(kept))


def _agrees(kept: Any, toxic: Toxic) -> bool:
    """Whether the server has what was asked for; attributes that were left out it fills in."""
    return (
        kept is not None
        and (kept.type, kept.stream, kept.toxicity) == (toxic.type, "downstream", 1)
        and toxic.attributes.items() <= kept.attributes.items()
    )


def name_of(toxic: Toxic) -> str:
    """Name a toxic as the client would; a second one of its type on a proxy is refused."""
    return f"{toxic.type}_downstream"


def remove(name: str, toxic_name: str) -> None:
    """Take a toxic off, if it is on, and look whether it is gone."""
    with _missing_is_fine():
        _client(name).destroy_toxic(toxic_name)
    if toxic_name in _client(name).toxics():
        raise FaultError(name, f"{toxic_name} was removed and is still there")


def switch(name: str, *, on: bool) -> ProxyState:
    """Switch a proxy and read it back."""
    proxy = _client(name)
    (proxy.enable if on else proxy.disable)()
    found = state(name)
    if found.enabled != on:
        raise FaultError(name, f"was switched {'on' if on else 'off'} and is not")
    return found


def heal(name: str) -> ProxyState:
    """Take all toxics off a proxy and switch it on."""
    for toxic_name in _client(name).toxics():
        remove(name, toxic_name)
    return switch(name, on=True)


def state(name: str) -> ProxyState:
    """Read a proxy."""
    return msgspec.convert(_consumer.get().get(f"/proxies/{name}").json(), ProxyState)


def proxies(prefix: str) -> list[ProxyState]:
    """Read all proxies whose names start with a prefix."""
    found = msgspec.convert(_consumer.get().get("/proxies").json(), dict[str, ProxyState])
    return [found[name] for name in sorted(found) if name.startswith(prefix)]


def carried(name: str) -> dict[str, int]:
    """Read the bytes that a proxy received, by direction."""
    counts = {"upstream": 0, "downstream": 0}
    for direction, proxy, value in _SAMPLE.findall(_consumer.get().get("/metrics").text):
        if proxy == name:
            counts[direction] += int(float(value))
    return counts
