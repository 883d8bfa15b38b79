"""How a system is wired: its services, the servers they need, and the edges between them."""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from brownout.errors import FileError
from brownout.files import parse_toml, read_text

__all__ = [
    "EDGE_SERVERS",
    "HARNESS",
    "PRIVATE_SERVERS",
    "Edge",
    "Service",
    "Topology",
    "parse_topology",
    "read_topology",
]

EDGE_SERVERS = ("postgres", "consul", "kafka")
"""The servers that a service reaches over an edge, that is, through a proxy of its own."""

PRIVATE_SERVERS = ("consul", "postgres")
"""Those of which a cell may have one of its own: only such a one may be stopped."""

HARNESS = "brownout"
"""The caller under whose name the harness's own proxies go; no service may be called so."""

_WORDS = (*EDGE_SERVERS, "otlp", "python", "listen", "advertise", "database", "cell", "instance")
_PLACEHOLDER = re.compile(r"{([\w-]+)}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,21}")

Count = Annotated[int, Meta(ge=1, le=9)]


class Edge(msgspec.Struct, frozen=True, order=True):
    """One dependency of a caller on a callee; a fault on it acts on all of the callee's instances.

    Attributes:
        caller: a service.
        callee: a service or server; ``users:grpc`` for a port of a service that has a name.
    """

    caller: str
    callee: str

    @property
    def service(self) -> str:
        """The callee without its port."""
        return self.callee.partition(":")[0]

    @property
    def port(self) -> str:
        """The name of the callee's port; empty for the one that has none, which is HTTP's."""
        return self.callee.partition(":")[2]

    def __str__(self) -> str:
        return f"{self.caller} -> {self.callee}"


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One service of the system, as its authors start it.

    Attributes:
        command: the program and its arguments, placeholders allowed.
        health: the path that answers whether the service is well.
        instances: how many of it run.
        ports: further ports by their protocol, each with a placeholder such as ``{listen-grpc}``.
        calls: the services it finds through Consul and calls, ``users:grpc`` for a port that has a name.
        env: its environment, placeholders allowed.
    """

    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    health: str = "/health"
    instances: Count = 1
    ports: tuple[Literal["grpc"], ...] = ()
    calls: tuple[str, ...] = ()
    env: dict[str, str] = {}


class Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table of services; what they do not name they do not reach.

    Attributes:
        entry: the service that users talk to.
        services: by name.
        env: the environment that all services share.
        deadline_header: the request header in which a caller says how many milliseconds it will wait.
        launcher: a program that starts the services at the harness's word, ``{python}`` allowed: a process that has
            loaded what they share can fork them in no time. Empty: each is executed.
    """

    entry: str
    services: Annotated[dict[str, Service], Meta(min_length=1)]
    env: dict[str, str] = {}
    deadline_header: str = ""
    launcher: tuple[str, ...] = ()

    def callees(self, caller: str) -> tuple[str, ...]:
        """Whom a service depends on: the services it calls, then what its environment and arguments name."""
        named = {word for word in self.words(caller) if word in self.services or word in EDGE_SERVERS}
        return tuple(dict.fromkeys((*self.services[caller].calls, *sorted(named))))

    def words(self, service: str) -> frozenset[str]:
        """The placeholders in a service's environment and arguments."""
        its = self.services[service]
        texts = (*self.env.values(), *its.env.values(), *its.command)
        return frozenset(word for text in texts for word in _PLACEHOLDER.findall(text))

    def edges(self) -> tuple[Edge, ...]:
        """Every edge of the system."""
        return tuple(edge for name in self.services for edge in self.edges_of(name))

    def edges_of(self, caller: str) -> tuple[Edge, ...]:
        """The edges on which a service depends on others."""
        return tuple(Edge(caller, callee) for callee in self.callees(caller))

    def servers(self) -> frozenset[str]:
        """The servers that some service reaches over an edge, and those that observe it.

        Jaeger where services are told where spans go, and Prometheus where Consul tells which services there are.
        """
        words = frozenset(word for name in self.services for word in self.words(name))
        needed = {
            "consul": "consul" in words or self.discovered(),
            "postgres": words & {"postgres", "database"},
            "kafka": "kafka" in words,
            "jaeger": "otlp" in words,
            "prometheus": "consul" in words or self.discovered(),
        }
        return frozenset(name for name, because in needed.items() if because)

    def discovered(self) -> frozenset[str]:
        """The services that some service finds through Consul."""
        return frozenset(Edge("", callee).service for service in self.services.values() for callee in service.calls)

    def edge(self, text: str) -> Edge:
        """The edge that a text such as ``orders -> users`` names.

        Raises:
            ValueError: it is none of this system's; the message lists those that are.
        """
        caller, _, callee = (part.strip() for part in text.partition("->"))
        edge = Edge(caller, callee)
        if edge not in self.edges():
            known = ", ".join(map(str, self.edges()))
            raise ValueError(f"no edge {text!r}; the topology has {known}")
        return edge

    def service(self, name: str) -> str:
        """The name again, if it is a service's.

        Raises:
            ValueError: it is not; the message lists those that are.
        """
        if name not in self.services:
            raise ValueError(f"no service {name!r}; the topology has {', '.join(self.services)}")
        return name

    def reached_from(self, names: set[str]) -> tuple[str, ...]:
        """The services in ``names`` and all that they call, directly or not, in the file's order."""
        reached: set[str] = set()
        waiting = set(names)
        while waiting:
            name = waiting.pop()
            reached.add(name)
            waiting |= {edge.service for edge in self.edges_of(name) if edge.service in self.services} - reached
        return tuple(name for name in self.services if name in reached)


def read_topology(path: Path) -> Topology:
    """The topology in a file.

    Raises:
        FileError: it is missing, or a key in it is wrong.
    """
    return parse_topology(read_text(path), str(path))


def parse_topology(text: str, name: str) -> Topology:
    """The topology in a TOML text; ``name`` is the file's, for the error.

    Raises:
        FileError: a key is unknown or missing, or names what is not there.
    """
    topology = parse_toml(text, name, Topology)
    if topology.entry not in topology.services:
        raise FileError(f"{name}: entry", _unknown(topology.entry, topology.services))
    _check_words(f"{name}: launcher", topology.launcher, {"python"})
    for service_name, service in topology.services.items():
        _check_service(topology, service_name, service, name)
    return topology


def _check_service(topology: Topology, service_name: str, service: Service, name: str) -> None:
    where = f"{name}: services.{service_name}"
    if not _NAME.fullmatch(service_name) or service_name in (*_WORDS, HARNESS):
        taken = ", ".join((*_WORDS, HARNESS))
        raise FileError(where, f"a service's name is up to 22 lower-case letters, digits and dashes, none of {taken}")
    for callee in service.calls:
        _check_callee(topology, Edge(service_name, callee), f"{where}.calls")
    words = {*_WORDS, *topology.services, *(f"listen-{port}" for port in service.ports)}
    _check_words(where, (*service.command, *service.env.values(), *topology.env.values()), words)


def _check_words(where: str, texts: tuple[str, ...], words: set[str]) -> None:
    for text in texts:
        for word in _PLACEHOLDER.findall(text):
            if word not in words:
                raise FileError(where, f"unknown placeholder {{{word}}}; allowed are {', '.join(sorted(words))}")


def _check_callee(topology: Topology, edge: Edge, where: str) -> None:
    if edge.service not in topology.services:
        raise FileError(where, _unknown(edge.service, topology.services))
    ports = topology.services[edge.service].ports
    if edge.port and edge.port not in ports:
        raise FileError(where, f"no port {edge.port!r} of {edge.service}; it has {', '.join(ports) or 'none'}")


def _unknown(name: str, services: dict[str, Service]) -> str:
    return f"no service {name!r}; there are {', '.join(services)}"
