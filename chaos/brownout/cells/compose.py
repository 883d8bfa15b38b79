"""A cell on a Compose project: its proxies and servers as they are, and its services, made anew for each scenario."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from brownout.cell import Canary
from brownout.cells.canary import exchange
from brownout.cells.composed import CELL, composed
from brownout.cells.consul import Consul, Keys, Registered
from brownout.cells.containers import Container, Project
from brownout.cells.copies import Copies
from brownout.cells.edges import EdgeNetwork
from brownout.cells.kafka import Topics
from brownout.cells.own import aged
from brownout.cells.ready import READY_S
from brownout.cells.stores import LocalStores, own_databases
from brownout.cells.telemetry import ServerTelemetry
from brownout.cells.toxiproxy import Toxiproxy
from brownout.cells.wiring import Instance, Proxy
from brownout.errors import CellError, FaultError
from brownout.mending import Identity
from brownout.topology import HARNESS, Edge, Topology
from brownout.undo import Starter, Supervisor

__all__ = ["ComposeCell", "ComposeWorld", "compose_cell"]

PORTS = {"toxiproxy": 8474, "consul": 8500, "postgres": 5432, "kafka": 9092, "jaeger": 16686, "prometheus": 9090}
"""Where each server listens in its container; of Kafka, the listener that no fault touches."""

STOPS = {"consul": signal.SIGKILL, "postgres": signal.SIGQUIT}
"""What ends a server as a crash does: Postgres leaves no shared memory behind."""

LONGEST_NAME = 34
"""Characters of a scenario's name in its cell's; a database's name has 63, with a service's of 22."""

POLL_S = 0.05
SILENCE_S = 0.5


class ComposeWorld:
    """What the cells on a project have in common. There is one at a time, as there is one system.

    Args:
        topology: the system's table; the project was made of it.
        project: its containers; those of the services stand still while there are cells.
        supervisor: undoes what a runner leaves behind.
        log: where what is called so writes its output.

    Attributes:
        starter: nobody starts services here but Docker; with the supervisor the run is lost.
        turn: held by the cell that there is.
    """

    def __init__(
        self, topology: Topology, project: Project, supervisor: Supervisor, log: Callable[[str], Path]
    ) -> None:
        self.topology = topology
        self.project = project
        self.supervisor = supervisor
        self.starter: Starter = supervisor
        self.log = log
        self.turn = asyncio.Lock()

    def server(self, name: str) -> str | None:
        """The address of a server; None where the topology needs none."""
        if name not in {*self.topology.servers(), "toxiproxy"}:
            return None
        return f"{self.project[name].address}:{PORTS[name]}"

    def cell(
        self,
        name: str,
        services: tuple[str, ...],
        *,
        instances: Mapping[str, int] | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        private: tuple[str, ...] = (),
    ) -> AbstractAsyncContextManager["ComposeCell"]:
        """Hold a cell open; see `compose_cell`."""
        return compose_cell(self, name, services, instances=instances, environment=environment, private=private)


class ComposeServers:
    """The project's servers: nobody shares them, as there is one cell; implements `brownout.cell.Servers`.

    Args:
        project: theirs.
        private: those that the scenario may stop.
    """

    def __init__(self, project: Project, private: tuple[str, ...]) -> None:
        self._project = project
        self._private = private

    async def stop(self, server: str) -> dict[str, Any]:
        """End a server at once, as a crash does; returns its exit code once it is gone.

        Raises:
            FaultError: it does not end, or is not the scenario's to stop.
        """
        return {"exit_code": await self._own(server).stop(STOPS[server])}

    async def start(self, server: str) -> dict[str, Any]:
        """Start a server again; returns its ``address`` once it answers.

        Raises:
            FaultError: it does not, has another address than before, or is not the scenario's to stop.
        """
        own = self._own(server)
        before = own.address
        await own.start()
        if own.address != before:
            raise FaultError(own.name, f"was at {before}, and is at {own.address} now")
        try:
            async with asyncio.timeout(READY_S):
                while (await self.canary(server, SILENCE_S)).answered_s is None:  # noqa: ASYNC110  nobody tells
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise FaultError(own.name, f"does not answer within {READY_S:g} s of its start") from None
        return {"address": own.address}

    async def canary(self, server: str, within_s: float) -> Canary:
        """Talk to a server at its own address, where nobody is while its container does not run."""
        own = self._own(server)
        await own.look()
        if not own.runs:  # no host has the address then, which the kernel finds out after 3 s
            return Canary(refused=True)
        return await exchange(f"{own.address}:{PORTS[server]}", server, "", within_s)

    def _own(self, server: str) -> Container:
        if server not in self._private:
            own = ", ".join(self._private) or "none"
            raise FaultError(server, f"is not this scenario's to stop; its own are {own}")
        return self._project[server]


class ComposeCell:
    """The system in containers as one scenario needs it; implements `brownout.cell.Cell`."""

    def __init__(
        self,
        name: str,
        network: EdgeNetwork,
        processes: Copies,
        servers: ComposeServers,
        telemetry: ServerTelemetry,
        stores: LocalStores,
        registry: Registered,
        configuration: Keys,
        proxies: tuple[Proxy, ...],
    ) -> None:
        self.name = name
        self.network = network
        self.processes = processes
        self.servers = servers
        self.telemetry = telemetry
        self.stores = stores
        self.registry = registry
        self.configuration = configuration
        self._proxies = proxies

    def url(self, service: str) -> str:
        """The address of a service's first instance, its own port.

        Raises:
            CellError: the service does not run in this cell.
        """
        return f"http://{self.processes.address(service)}"

    def side_url(self, service: str) -> str:
        """The address of the harness's own proxy to a service's first instance."""
        edge = Edge(HARNESS, service)
        return next(f"http://{proxy.listen}" for proxy in self._proxies if proxy.edge == edge)

    async def heal(self) -> list[str]:
        """Lift whatever is left of a fault on any edge."""
        return await self.network.heal()


@asynccontextmanager
async def compose_cell(
    world: ComposeWorld,
    name: str,
    services: tuple[str, ...],
    *,
    instances: Mapping[str, int] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
    private: tuple[str, ...] = (),
) -> AsyncIterator[ComposeCell]:
    """Hold a cell open, once the one before is closed; ready when every instance is.

    The proxies are the project's, and one more for each further instance. A service's container is a copy of the
    project's own under the same host name, with the cell's name in its environment, and what the scenario changes
    there: so whatever image, settings and limits the file has are what is tested.

    Raises:
        CellError: a part of it could not be started.
    """
    async with world.turn, AsyncExitStack() as stack:
        cell = f"{name[:LONGEST_NAME]}-{int(time.time()) & 0xFFFFF:05x}"  # servers remember the cells of before
        wiring = composed(world.topology, cell, instances=instances, environment=environment)
        running = tuple(each for each in wiring.instances if each.service in services)
        proxies, network = await _network(world, stack, instances)
        if postgres := world.server("postgres"):
            await stack.enter_async_context(own_databases(postgres, wiring.databases))
        agent = world.server("consul")
        consul = await stack.enter_async_context(Consul(agent)) if agent else None
        if agent and "consul" in private:
            stack.push_async_callback(_discover_anew, world.project["prometheus"])
            await aged(agent)
        changed = _changed(world.topology, running)
        processes = Copies(world.project, world.topology, world.log, cell, running, changed, consul)
        stack.push_async_callback(processes.end_all)
        await processes.start_all()
        kafka = world.server("kafka")
        yield ComposeCell(
            cell,
            network,
            processes,
            ComposeServers(world.project, private),
            ServerTelemetry(world.server("jaeger"), world.server("prometheus"), cell),
            LocalStores(cell, postgres, Topics(kafka) if kafka else None),
            Registered(consul, cell),
            Keys(consul, cell),
            proxies,
        )


async def _discover_anew(prometheus: Container) -> None:
    """Have Prometheus ask the agent anew: for 2 minutes it waits for an index above that of the one before."""
    await prometheus.stop(signal.SIGTERM)
    await prometheus.start()


async def _network(
    world: ComposeWorld, stack: AsyncExitStack, instances: Mapping[str, int] | None
) -> tuple[tuple[Proxy, ...], EdgeNetwork]:
    """The project's proxies, in order, and further ones where a service has more instances.

    Raises:
        CellError: the project has others than the topology.
    """
    container, address = world.project["toxiproxy"], world.server("toxiproxy")
    assert address  # noqa: S101  there always is one
    journal, process = world.supervisor.journal, Identity.of(container.pid)
    toxiproxy = await stack.enter_async_context(Toxiproxy(address, journal=journal, process=process))
    known = composed(world.topology, instances=instances).proxies
    proxies = tuple(
        msgspec.structs.replace(proxy, listen=f"{container.address}:{proxy.listen.rpartition(':')[2]}")
        for proxy in known
    )
    there = {state.name: (state.upstream, _port(state.listen)) for state in await toxiproxy.proxies(f"{CELL}.")}
    for proxy in proxies:
        if proxy.name not in there:
            stack.push_async_callback(toxiproxy.destroy, proxy.name)
            await toxiproxy.create(proxy.name, proxy.listen, proxy.upstream)
        elif there[proxy.name] != (proxy.upstream, _port(proxy.listen)):
            cause = f"leads to {there[proxy.name][0]}, and not to {proxy.upstream}"
            raise CellError(proxy.name, cause, "the project is not of this topology: docker compose up makes it anew")
    network = EdgeNetwork(toxiproxy, proxies)
    await network.heal()
    return proxies, network


def _changed(topology: Topology, instances: tuple[Instance, ...]) -> dict[str, dict[str, str]]:
    """The settings of each instance that differ from those of the project's own container, by its name."""
    own = {each.service: each.env for each in composed(topology).instances if each.number == 0}
    return {
        each.name: {key: value for key, value in each.env.items() if own[each.service].get(key) != value}
        for each in instances
    }


def _port(address: str) -> str:
    return address.rpartition(":")[2]
