"""A system's wiring in containers: the names and fixed ports that docker-compose.yml has."""

from collections.abc import Mapping
from itertools import count

from brownout.cells.wiring import Wiring, wire
from brownout.servers import Listener
from brownout.topology import Topology

__all__ = ["CELL", "PORTS", "SERVERS", "composed", "container_of"]

CELL = "compose"
"""The cell that the file starts, and the prefix of its proxies."""

SERVERS = {"postgres": "postgres:5432", "consul": "consul:8500", "otlp": "jaeger:4318"}
PORTS = {"": 8000, "grpc": 9000}

FIRST_PROXY = 20000
FIRST_LISTENER = 19092


def composed(
    topology: Topology,
    cell: str = CELL,
    *,
    instances: Mapping[str, int] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> Wiring:
    """Wire all of a system in containers; what the file has keeps its addresses, whatever there is besides.

    Args:
        topology: the system's table.
        cell: the cell's name.
        instances: how many of a service, where it differs from the topology.
        environment: settings of services, over those of the topology.
    """
    addresses = _Addresses()

    def wired(counts: Mapping[str, int]) -> Wiring:
        return wire(
            topology,
            cell,
            tuple(topology.services),
            addresses.address,
            SERVERS,
            addresses.listener,
            instances=counts,
            environment=environment,
        )

    before = wired({})
    return wired(instances) if instances else before


def container_of(service: str, number: int) -> str:
    """The host name of an instance."""
    return f"{service}-{number}" if number else service


class _Addresses:
    """Gives each thing an address, and the same one whenever it is asked for it."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}
        self._upstreams: dict[str, int] = {}
        self._next_port = count(FIRST_PROXY)
        self._next_upstream = count(FIRST_LISTENER)

    def address(self, name: str) -> str:
        """A service's own is at its container; those of proxies are at Toxiproxy's."""
        if "." in name:
            return f"toxiproxy:{self._numbered(self._ports, name, self._next_port)}"
        instance, _, port = name.partition(":")
        service, _, number = instance.rpartition("-")
        return f"{container_of(service, int(number))}:{PORTS[port]}"

    def listener(self, name: str) -> Listener:
        upstream = f"kafka:{self._numbered(self._upstreams, name, self._next_upstream)}"
        return Listener(upstream=upstream, advertised=self.address(name))

    @staticmethod
    def _numbered(given: dict[str, int], name: str, following: "count[int]") -> int:
        if name not in given:
            given[name] = next(following)
        return given[name]
