"""A cell on a Compose project: its servers as they are, and proxies and copies of its services, made for a scenario."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count, cycle
from pathlib import Path
from typing import Any

import msgspec

from brownout.cell import Canary
from brownout.cells.canary import exchange
from brownout.cells.composed import LISTENERS, celled, composed
from brownout.cells.consul import Consul, Keys, Registered
from brownout.cells.containers import Container
from brownout.cells.copies import Copies
from brownout.cells.edges import EdgeNetwork
from brownout.cells.kafka import ListenerPool, Topics
from brownout.cells.own import aged, scraped
from brownout.cells.project import Project
from brownout.cells.ready import READY_S
from brownout.cells.stores import LocalStores, own_databases
from brownout.cells.telemetry import ServerTelemetry
from brownout.cells.toxiproxy import Toxiproxy
from brownout.cells.wiring import Instance, Proxy, Wiring
from brownout.errors import BrownoutError, FaultError
from brownout.mending import Identity, Undo
from brownout.servers import Listener
from brownout.topology import HARNESS, Edge, Topology
from brownout.undo import Starter, Supervisor

__all__ = ["ComposeCell", "ComposeWorld", "compose_cell", "forget"]

PORTS = {"toxiproxy": 8474, "consul": 8500, "postgres": 5432, "kafka": 9092, "jaeger": 16686, "prometheus": 9090}
"""Where each server listens in its container; of Kafka, the listener that no fault touches."""

STOPS = {"consul": signal.SIGKILL, "postgres": signal.SIGQUIT}
"""What ends a server as a crash does: Postgres leaves no shared memory behind."""

PROXY_PORTS = range(22000, 32000)
"""For the proxies of cells: above those of the file, and below those that the kernel gives away."""

LONGEST_NAME = 30
"""Characters of a scenario's name in its cell's; a database's name has 63, with a service's of 22."""

POLL_S = 0.05
SILENCE_S = 0.5


class ComposeWorld:
    """What the cells on a project have in common.

    Args:
        topology: the system's table; the project was made of it.
        project: its containers.
        supervisor: undoes what a runner leaves behind.
        log: where what is called so writes its output.
        places: how many containers there may be at a time.

    Attributes:
        starter: nobody starts services here but Docker; with the supervisor the run is lost.
        listeners: the broker's, one for each edge to it.
        ports: for proxies; when all were had, the first are free again.
    """

    def __init__(
        self, topology: Topology, project: Project, supervisor: Supervisor, log: Callable[[str], Path], places: int
    ) -> None:
        self.topology = topology
        self.project = project
        self.supervisor = supervisor
        self.starter: Starter = supervisor
        self.log = log
        self.listeners = ListenerPool(LISTENERS)
        self.ports = cycle(PROXY_PORTS)
        self._most = places
        self._places = asyncio.Semaphore(places)
        self._turn = asyncio.Lock()
        self._numbers = count(1)
        self._begun_s = int(time.time())

    def server(self, name: str) -> str | None:
        """The address of a server that all cells share; None where the topology needs none.

        Raises:
            CellError: it does not run.
        """
        if name not in {*self.topology.servers(), "toxiproxy"}:
            return None
        return f"{self.project[name].address}:{PORTS[name]}"

    def name_of_cell(self, scenario: str) -> str:
        """A name that no cell had before: servers remember those of runs before, and retries have a ``_`` too many."""
        return f"{scenario[:LONGEST_NAME].replace('_', '-')}-{self._begun_s & 0xFFFFF:05x}-{next(self._numbers)}"

    @asynccontextmanager
    async def room(self, containers: int) -> AsyncIterator[None]:
        """Hold places for some containers; who asks first comes first."""
        async with AsyncExitStack() as stack:
            async with self._turn:
                for _ in range(min(containers, self._most)):
                    await stack.enter_async_context(self._places)
            yield

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
    """The servers that a cell has to itself, copies of the project's; implements `brownout.cell.Servers`.

    Args:
        cell: the cell's name.
        servers: by name.
    """

    def __init__(self, cell: str, servers: Mapping[str, Container]) -> None:
        self._cell = cell
        self._servers = servers

    def address(self, server: str) -> str | None:
        """Where one listens; None where the cell shares it with others."""
        return f"{self._servers[server].address}:{PORTS[server]}" if server in self._servers else None

    async def stop(self, server: str) -> dict[str, Any]:
        """End a server at once, as a crash does; returns its exit code once it is gone.

        Raises:
            FaultError: it does not end, or the cell shares it with others.
        """
        return {"exit_code": await self._own(server).end(STOPS[server])}

    async def start(self, server: str) -> dict[str, Any]:
        """Start a server again, at the same address; returns that once it answers.

        Raises:
            FaultError: it does not, or the cell shares it with others.
        """
        own = self._own(server)
        await own.start()
        try:
            async with asyncio.timeout(READY_S):
                while (await self.canary(server, SILENCE_S)).answered_s is None:  # noqa: ASYNC110  nobody tells
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise FaultError(own.name, f"does not answer within {READY_S:g} s of its start") from None
        return {"address": self.address(server)}

    async def canary(self, server: str, within_s: float) -> Canary:
        """Talk to a server at its own address, where nobody is while its container does not run."""
        own = self._own(server)
        await own.look()
        if not own.runs:  # no host has the address then, which the kernel finds out after 3 s
            return Canary(refused=True)
        return await exchange(f"{own.address}:{PORTS[server]}", server, "", within_s)

    def _own(self, server: str) -> Container:
        if server not in self._servers:
            own = ", ".join(self._servers) or "none"
            raise FaultError(f"{self._cell}/{server}", f"is shared by all cells; this cell's own are {own}")
        return self._servers[server]


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
    """Hold a cell open, as soon as there is room for it: its own servers, databases, proxies and services.

    A service's container is a copy of the project's own, with the cell's addresses and names in its environment, and
    what the scenario changes there: so whatever image, settings and limits the file has are what is tested.

    Raises:
        CellError: a part of it could not be started.
    """
    async with AsyncExitStack() as stack:
        counts = {each: (instances or {}).get(each, world.topology.services[each].instances) for each in services}
        await stack.enter_async_context(world.room(sum(counts.values()) + len(private)))
        cell = world.name_of_cell(name)

        def listener(_name: str) -> Listener:
            taken = world.listeners.take()
            stack.callback(world.listeners.give_back, taken)
            return taken

        wiring = celled(
            world.topology,
            cell,
            services,
            world.ports,
            listener,
            instances=instances,
            environment=environment,
            private=private,
        )
        servers = await stack.enter_async_context(_own_servers(world.project, cell, private))
        network, proxies = await stack.enter_async_context(_network(world, wiring))
        if postgres := servers.address("postgres") or world.server("postgres"):
            await stack.enter_async_context(own_databases(postgres, wiring.databases))
        agent = servers.address("consul") or world.server("consul")
        consul = await stack.enter_async_context(Consul(agent)) if agent else None
        processes = await stack.enter_async_context(_services(world, cell, wiring, consul))
        kafka = world.server("kafka")
        yield ComposeCell(
            cell,
            network,
            processes,
            servers,
            ServerTelemetry(world.server("jaeger"), world.server("prometheus"), cell),
            LocalStores(cell, postgres, Topics(kafka) if kafka else None),
            Registered(consul, cell),
            Keys(consul, cell),
            proxies,
        )


@asynccontextmanager
async def _services(world: ComposeWorld, cell: str, wiring: Wiring, consul: Consul | None) -> AsyncIterator[Copies]:
    """Hold a cell's services; whoever registers at an agent of the cell's own is known at the shared one as well.

    Raises:
        CellError: one could not be started.
    """
    changed = _changed(world.topology, wiring.instances)
    processes = Copies(world.project, world.topology, world.log, cell, wiring.instances, changed, consul)
    async with AsyncExitStack() as stack:
        if shared := world.server("consul"):
            stack.push_async_callback(forget, shared, f'Meta.cell == "{cell}"')
        stack.push_async_callback(processes.end_all)
        await processes.start_all()
        if shared and consul and consul.address != shared:  # Prometheus looks there
            found = [each for each in wiring.instances if "consul" in world.topology.words(each.service)]
            await stack.enter_async_context(scraped(shared, cell, found))
        yield processes


async def forget(consul: str, which: str) -> None:
    """Take instances out of a registry: killed ones are asked for their health, and scraped, for ever.

    Args:
        consul: the agent's address.
        which: the agent's own language, such as ``Meta.cell == "c1"``.

    Raises:
        CellError: the agent did not answer.
    """
    async with Consul(consul) as agent:
        known, _ = await agent.ask("GET", "/v1/agent/services", params={"filter": which})
        for instance_id in msgspec.json.decode(known, type=dict[str, Any]):
            await agent.deregister(instance_id)


@asynccontextmanager
async def _own_servers(project: Project, cell: str, names: tuple[str, ...]) -> AsyncIterator[ComposeServers]:
    """Hold the servers that a cell has to itself; they answer.

    Raises:
        BrownoutError: one could not be made or started.
    """
    copies = {name: project.copy_of(f"{cell}-{name}") for name in names}
    servers = ComposeServers(cell, copies)
    async with AsyncExitStack() as stack:
        for name, copy in copies.items():
            stack.push_async_callback(project.remove, copy)
            await project.make(copy, name, f"{name}.{cell}")
            await servers.start(name)
        if agent := servers.address("consul"):
            await _aged(agent)
        yield servers


async def _aged(agent: str) -> None:
    """Have a new agent count on to where one in use is; it answers a while before it takes anything.

    Raises:
        CellError: it takes nothing.
    """
    last_s = asyncio.get_running_loop().time() + READY_S
    while True:
        try:
            return await aged(agent)
        except BrownoutError:
            if asyncio.get_running_loop().time() > last_s:
                raise
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def _network(world: ComposeWorld, wiring: Wiring) -> AsyncIterator[tuple[EdgeNetwork, tuple[Proxy, ...]]]:
    """Hold a cell's proxies on the project's Toxiproxy, which outlives the runner: the watchdog knows of each.

    Raises:
        CellError: one of them could not be made.
    """
    container, api = world.project["toxiproxy"], world.server("toxiproxy")
    assert api  # noqa: S101  there always is one
    journal, process = world.supervisor.journal, Identity.of(container.pid)
    proxies = tuple(
        msgspec.structs.replace(proxy, listen=f"{container.address}:{proxy.listen.rpartition(':')[2]}")
        for proxy in wiring.proxies
    )
    async with Toxiproxy(api, journal=journal, process=process) as toxiproxy:
        network = EdgeNetwork(toxiproxy, proxies)
        there = [Undo("destroy", process, api, each.name) for each in proxies]
        await asyncio.to_thread(journal.begun, *there)
        try:
            await network.create()
            yield network, proxies
        finally:
            await network.destroy()
            journal.undone(*there)


def _changed(topology: Topology, instances: tuple[Instance, ...]) -> dict[str, dict[str, str]]:
    """The settings of each instance that differ from those of the project's own container, by its name."""
    own = {each.service: each.env for each in composed(topology).instances if each.number == 0}
    return {
        each.name: {key: value for key, value in each.env.items() if own[each.service].get(key) != value}
        for each in instances
    }
