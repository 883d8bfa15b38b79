"""From a topology to a cell's addresses: which process listens where, through which proxies it reaches whom."""

import json
import re
import sys
from collections.abc import Callable, Mapping

import msgspec

from brownout.servers import Listener
from brownout.topology import EDGE_SERVERS, HARNESS, Edge, Service, Topology

__all__ = ["Instance", "Proxy", "Wiring", "wire"]


class Proxy(msgspec.Struct, frozen=True):
    """One proxy: of one edge, to one instance of its callee.

    Attributes:
        edge: whose it is.
        name: ``<cell>.<caller>.<callee>.<protocol>.<instance>``.
        listen: where callers reach it.
        upstream: the callee's own address.
        protocol: a server's name, ``http``, or the name of a service's port.
        path: what a canary asks; empty where the protocol has no paths.
    """

    edge: Edge
    name: str
    listen: str
    upstream: str
    protocol: str
    path: str = ""


class Instance(msgspec.Struct, frozen=True):
    """One process of a service: its name, addresses, program and environment."""

    service: str
    number: int
    listen: str
    command: tuple[str, ...]
    env: dict[str, str]
    health: str

    @property
    def name(self) -> str:
        """``<service>-<number>``."""
        return f"{self.service}-{self.number}"


class Wiring(msgspec.Struct, frozen=True):
    """Everything that is started and created for a cell."""

    instances: tuple[Instance, ...]
    proxies: tuple[Proxy, ...]
    databases: tuple[str, ...]


def wire(
    topology: Topology,
    cell: str,
    services: tuple[str, ...],
    address: Callable[[str], str],
    servers: Mapping[str, str],
    listener: Callable[[str], Listener],
    *,
    instances: Mapping[str, int] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> Wiring:
    """Wire a cell.

    Args:
        topology: the system's table.
        cell: the cell's name.
        services: those that run; all that they call are among them.
        address: gives a ``host:port`` to what is named: ``users-0`` or ``users-0:grpc`` for an instance's own, and
            ``orders.users.http.0`` for a proxy.
        servers: addresses of the servers that there are, by name; ``otlp`` takes spans.
        listener: takes one of the Kafka broker's, for the proxy of that name.
        instances: how many of a service, where it differs from the topology.
        environment: settings of services, over those of the topology.
    """
    counts = {name: (instances or {}).get(name, topology.services[name].instances) for name in services}
    listens = {
        _port_of(name, port): [address(_port_of(f"{name}-{number}", port)) for number in range(count)]
        for name, count in counts.items()
        for port in ("", *topology.services[name].ports)
    }
    edges = [edge for name in services for edge in topology.edges_of(name)]
    edges = [edge for edge in edges if edge.service in (*services, *EDGE_SERVERS)]
    edges += [Edge(HARNESS, name) for name in services]
    proxies = tuple(
        Proxy(
            edge,
            f"{cell}.{_proxy_name(edge, number)}",
            listen,
            upstream,
            _protocol(edge),
            topology.services[edge.service].health if _protocol(edge) == "http" else "",
        )
        for edge in edges
        for number, (listen, upstream) in enumerate(_routes(edge, listens, address, servers, listener))
    )
    running = tuple(
        _instance(topology, cell, name, number, listens, proxies, servers, (environment or {}).get(name, {}))
        for name in services
        for number in range(counts[name])
    )
    databases = tuple(database_of(cell, name) for name in services if "database" in topology.words(name))
    return Wiring(running, proxies, databases)


def database_of(cell: str, service: str) -> str:
    """The name of a service's database in a cell: neither name has a ``_``, and both fit into Postgres's 63 bytes."""
    return f"{cell}_{service}"


def _port_of(name: str, port: str) -> str:
    return f"{name}:{port}" if port else name


def _proxy_name(edge: Edge, number: int) -> str:
    """A proxy's name in its cell."""
    return f"{edge.caller}.{edge.service}.{_protocol(edge)}.{number}"


def _protocol(edge: Edge) -> str:
    if edge.callee in EDGE_SERVERS:
        return edge.callee
    return edge.port or "http"


def _routes(
    edge: Edge,
    listens: Mapping[str, list[str]],
    address: Callable[[str], str],
    servers: Mapping[str, str],
    listener: Callable[[str], Listener],
) -> list[tuple[str, str]]:
    """Where each proxy of an edge listens, and what is behind it."""
    if edge.callee == "kafka":
        taken = listener(_proxy_name(edge, 0))  # clients follow what the broker advertises: the proxy has to be there
        return [(taken.advertised, taken.upstream)]
    upstreams = [servers[edge.callee]] if edge.callee in EDGE_SERVERS else listens[edge.callee]
    return [(address(_proxy_name(edge, number)), upstream) for number, upstream in enumerate(upstreams)]


def _instance(
    topology: Topology,
    cell: str,
    name: str,
    number: int,
    listens: Mapping[str, list[str]],
    proxies: tuple[Proxy, ...],
    servers: Mapping[str, str],
    settings: Mapping[str, str],
) -> Instance:
    service: Service = topology.services[name]
    reached = {proxy.edge.callee: proxy.listen for proxy in reversed(proxies) if proxy.edge.caller == name}
    words = {
        **reached,
        "python": sys.executable,
        "cell": cell,
        "instance": f"{name}-{number}",
        "listen": listens[name][number],
        **{f"listen-{port}": listens[f"{name}:{port}"][number] for port in service.ports},
        "advertise": json.dumps(_tagged_addresses(service, name, number, listens, proxies)),
        "database": database_of(cell, name),
        "otlp": servers.get("otlp", ""),
    }
    env = {**topology.env, **service.env, **settings}
    return Instance(
        name,
        number,
        listens[name][number],
        tuple(_fill(text, words) for text in service.command),
        {key: _fill(text, words) for key, text in env.items()},
        service.health,
    )


def _tagged_addresses(
    service: Service, name: str, number: int, listens: Mapping[str, list[str]], proxies: tuple[Proxy, ...]
) -> dict[str, dict[str, str | int]]:
    """Consul's tagged addresses of an instance: its named ports, and for each caller that caller's proxy to it."""
    tagged: dict[str, dict[str, str | int]] = {}
    for port in service.ports:
        tagged[port] = _address(listens[f"{name}:{port}"][number])
    for proxy in proxies:
        if proxy.edge.service == name and proxy.name.endswith(f".{number}"):
            prefix = f"{proxy.edge.port}-" if proxy.edge.port else ""
            tagged[f"{prefix}via-{proxy.edge.caller}"] = _address(proxy.listen)
    return tagged


def _address(text: str) -> dict[str, str | int]:
    host, _, port = text.rpartition(":")
    return {"Address": host, "Port": int(port)}


def _fill(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"{(\w[\w-]*)}", lambda match: words.get(match[1], match[0]), text)
