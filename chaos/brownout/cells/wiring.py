"""From a topology to a cell's addresses: which process listens where, through which proxies it reaches whom."""

import json
import re
import sys
from collections.abc import Callable, Mapping

import msgspec

from brownout.topology import EDGE_SERVERS, Edge, Service, Topology

__all__ = ["HARNESS", "Instance", "Proxy", "Wiring", "wire"]

HARNESS = "brownout"
"""The caller under whose name the harness's own proxies go."""


class Proxy(msgspec.Struct, frozen=True):
    """One proxy: of one edge, to one instance of its callee.

    Attributes:
        edge: whose it is.
        name: ``<cell>.<caller>.<callee>.<protocol>.<instance>``.
        listen: where callers reach it.
        upstream: the callee's own address.
        protocol: ``http``, ``postgres`` or ``consul``.
        path: what a canary asks; empty where the protocol has no paths.
    """

    edge: Edge
    name: str
    listen: str
    upstream: str
    protocol: str
    path: str = ""


class Instance(msgspec.Struct, frozen=True):
    """One process of a service: its name, address, program and environment."""

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
    free_address: Callable[[], str],
    servers: Mapping[str, str],
    *,
    instances: Mapping[str, int] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> Wiring:
    """Wire a cell.

    Args:
        topology: the system's table.
        cell: the cell's name.
        services: those that run; all that they call are among them.
        free_address: gives a free ``host:port`` at each call.
        servers: addresses of the servers by name; ``otlp`` takes spans.
        instances: how many of a service, where it differs from the topology.
        environment: settings of services, over those of the topology.
    """
    counts = {name: (instances or {}).get(name, topology.services[name].instances) for name in services}
    listens = {name: [free_address() for _ in range(count)] for name, count in counts.items()}
    proxies = _proxies(topology, cell, listens, free_address, servers)
    running = tuple(
        _instance(topology, cell, name, number, listens, proxies, servers, (environment or {}).get(name, {}))
        for name in services
        for number in range(counts[name])
    )
    databases = tuple(database_of(cell, name) for name in services if _names(topology, name, "database"))
    return Wiring(running, proxies, databases)


def database_of(cell: str, service: str) -> str:
    """The name of a service's database in a cell."""
    return f"{cell}_{service}".replace("-", "_")


def _names(topology: Topology, service: str, word: str) -> bool:
    values = (*topology.env.values(), *topology.services[service].env.values())
    return any(f"{{{word}}}" in value for value in values)


def _proxies(
    topology: Topology,
    cell: str,
    listens: Mapping[str, list[str]],
    free_address: Callable[[], str],
    servers: Mapping[str, str],
) -> tuple[Proxy, ...]:
    def proxies_to(edge: Edge) -> list[Proxy]:
        if edge.callee in EDGE_SERVERS:
            protocol, upstreams, path = edge.callee, [servers[edge.callee]], ""
        else:
            protocol, upstreams = "http", listens[edge.callee]
            path = topology.services[edge.callee].health
        prefix = f"{cell}.{edge.caller}.{edge.callee}.{protocol}"
        return [
            Proxy(edge, f"{prefix}.{number}", free_address(), upstream, protocol, path)
            for number, upstream in enumerate(upstreams)
        ]

    edges = [Edge(name, callee) for name in listens for callee in topology.callees(name)]
    edges += [Edge(HARNESS, name) for name in listens]
    return tuple(proxy for edge in edges for proxy in proxies_to(edge))


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
        "advertise": json.dumps(_tagged_addresses(name, number, proxies)),
        "database": database_of(cell, name),
        "otlp": servers["otlp"],
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


def _tagged_addresses(callee: str, number: int, proxies: tuple[Proxy, ...]) -> dict[str, dict[str, str | int]]:
    """Consul's tagged addresses of an instance: one a caller, that caller's proxy to it."""
    tagged: dict[str, dict[str, str | int]] = {}
    for proxy in proxies:
        if proxy.edge.callee == callee and proxy.name.endswith(f".{number}"):
            host, _, port = proxy.listen.rpartition(":")
            tagged[f"via-{proxy.edge.caller}"] = {"Address": host, "Port": int(port)}
    return tagged


def _fill(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"{(\w[\w-]*)}", lambda match: words.get(match[1], match[0]), text)
