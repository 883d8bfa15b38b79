"""A system's wiring in containers: the names and ports that docker-compose.yml has, and those of a gate's cells."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count

from brownout.cells.wiring import Wiring, wire
from brownout.servers import Listener
from brownout.topology import Topology

__all__ = ["CELL", "LISTENERS", "PORTS", "SERVERS", "celled", "composed", "container_of"]

CELL = "compose"
"""The cell that the file starts, and the prefix of its proxies."""

SERVERS = {"postgres": "postgres:5432", "consul": "consul:8500", "otlp": "jaeger:4318"}
PORTS = {"": 8000, "grpc": 9000}

FIRST_PROXY = 20000
FIRST_LISTENER = 19092

LISTENERS = tuple(Listener(f"kafka:{19200 + number}", f"toxiproxy:{21000 + number}") for number in range(64))
"""The broker's for a gate's cells, one for each edge to it, besides those that the file's own cell has; each costs
0.25 MB and 2 threads. No service has more than one, so there are never more services at a time."""


def composed(topology: Topology) -> Wiring:
    """Wire the cell that the file starts.

    Args:
        topology: the system's table.
    """
    ports, upstreams = count(FIRST_PROXY), count(FIRST_LISTENER)

    def address(name: str) -> str:
        if "." in name:
            return f"toxiproxy:{next(ports)}"
        instance, _, port = name.partition(":")
        service, _, number = instance.rpartition("-")
        return f"{container_of(service, int(number))}:{PORTS[port]}"

    def listener(name: str) -> Listener:
        return Listener(f"kafka:{next(upstreams)}", address(name))

    return wire(topology, CELL, tuple(topology.services), address, SERVERS, listener)


def celled(
    topology: Topology,
    cell: str,
    services: tuple[str, ...],
    ports: Iterator[int],
    listener: Callable[[str], Listener],
    *,
    instances: Mapping[str, int] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
    private: tuple[str, ...] = (),
) -> Wiring:
    """Wire a cell of a gate, beside the file's own: whatever it has to itself is called after it.

    Args:
        topology: the system's table.
        cell: the cell's name.
        services: those that run.
        ports: for its proxies.
        listener: takes one of ``LISTENERS``.
        instances: how many of a service, where it differs from the topology.
        environment: settings of services, over those of the topology.
        private: the servers that the cell has to itself.
    """

    def address(name: str) -> str:
        if "." in name:
            return f"toxiproxy:{next(ports)}"
        instance, _, port = name.partition(":")
        return f"{instance}.{cell}:{PORTS[port]}"

    servers = {
        name: f"{name}.{cell}:{to.rpartition(':')[2]}" if name in private else to for name, to in SERVERS.items()
    }
    return wire(topology, cell, services, address, servers, listener, instances=instances, environment=environment)


def container_of(service: str, number: int) -> str:
    """The name of an instance's container in the file."""
    return f"{service}-{number}" if number else service
