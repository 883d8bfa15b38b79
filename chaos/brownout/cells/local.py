"""A cell of local processes: databases, proxies and services, started from a topology and ended with the run."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from brownout.cells.canary import exchange
from brownout.cells.consul import Consul, Keys, Registered
from brownout.cells.edges import EdgeNetwork
from brownout.cells.kafka import ListenerPool, Topics
from brownout.cells.own import OwnServers, own_servers, scraped
from brownout.cells.pauses import Pauses
from brownout.cells.ready import READY_S, answers
from brownout.cells.starter import inherited
from brownout.cells.stores import LocalStores, own_databases
from brownout.cells.telemetry import ServerTelemetry
from brownout.cells.toxiproxy import Toxiproxy
from brownout.cells.wiring import Instance, Wiring, wire
from brownout.errors import CellError
from brownout.mending import state_of
from brownout.processors import waited_s
from brownout.servers import Addresses, Listener, Program
from brownout.servers.ports import free_port
from brownout.topology import HARNESS, Edge, Topology
from brownout.undo import Process, Starter, Supervisor

__all__ = ["LocalCell", "World", "local_cell"]

NICE = 5
"""How far a service gives way to the harness and to the servers that all cells share: a third of their weight. There
are a hundred services in a gate, and whoever measures and whatever all depend on must not wait behind them; at 10 the
services themselves were too slow to keep what they promise."""


class World(msgspec.Struct, frozen=True):
    """What all cells of a run share.

    Attributes:
        topology: the system's table.
        servers: where the real servers listen.
        programs: what they are started from, for a cell that has one of its own.
        supervisor: starts processes, and ends them all.
        starter: starts the services: the system's launcher, or the supervisor.
        listeners: the broker's, one for each edge to it.
        log: where a process of that name writes its output.
    """

    topology: Topology
    servers: Addresses
    programs: Mapping[str, Program]
    supervisor: Supervisor
    starter: Starter
    listeners: ListenerPool
    log: Callable[[str], Path]

    def cell(
        self,
        name: str,
        services: tuple[str, ...],
        *,
        instances: Mapping[str, int] | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        private: tuple[str, ...] = (),
    ) -> AbstractAsyncContextManager["LocalCell"]:
        """Hold a cell open; see `local_cell`."""
        return local_cell(self, name, services, instances=instances, environment=environment, private=private)


class LocalProcesses:
    """The services of a cell as processes; implements `brownout.cell.Processes`."""

    def __init__(self, world: World, cell: str, wiring: Wiring, consul: Consul | None) -> None:
        self._world = world
        self._cell = cell
        self._consul = consul
        self._instances = {(each.service, each.number): each for each in wiring.instances}
        self._running: dict[tuple[str, int], Process] = {}
        self._signalled_ns: dict[tuple[str, int], int] = {}
        self._pauses = Pauses(world.supervisor.journal)

    def instances(self, service: str) -> int:
        """How many instances a service has."""
        return sum(name == service for name, _ in self._instances)

    def waited_s(self) -> dict[str, float]:
        """How long each running instance has waited for a processor since it was started, by its name."""
        return {
            self._instances[key].name: waited_s(process.pid)
            for key, process in self._running.items()
            if process.returncode is None
        }

    async def start_all(self) -> None:
        """Start every instance; returns when all answer and are registered."""
        await asyncio.gather(*(self.start(service, number) for service, number in self._instances))

    async def start(self, service: str, instance: int) -> None:
        """Start an instance; returns when it answers and is registered.

        Raises:
            CellError: it ended, or was not ready in time.
        """
        wired = self._instances[service, instance]
        try:
            async with asyncio.timeout(READY_S):
                process = await self._world.starter.spawn(
                    f"{self._cell}/{wired.name}",
                    wired.command,
                    env={**inherited(), **wired.env},
                    log=self._world.log(f"{self._cell}.{wired.name}"),
                    nice=NICE,
                )
                self._running[service, instance] = process
                await self._ready(wired, process)
        except TimeoutError:
            raise self._not_ready(wired, f"not ready within {READY_S:g} s") from None

    async def end_all(self) -> None:
        """End every instance at once."""
        for process in self._running.values():
            process.signal(signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in self._running.values()))

    async def kill(self, service: str, instance: int) -> dict[str, Any]:
        """End an instance with SIGKILL, if it still runs; returns its exit code once it is gone."""
        process = self._running[service, instance]
        process.signal(signal.SIGKILL)
        return {"instance": instance, "exit_code": await process.wait()}

    async def terminate(self, service: str, instance: int) -> dict[str, Any]:
        """Send SIGTERM to an instance."""
        process = self._running[service, instance]
        self._signalled_ns[service, instance] = time.monotonic_ns()
        process.signal(signal.SIGTERM)
        return {"pid": process.pid}

    async def pause(self, service: str, instance: int) -> dict[str, Any]:
        """Stop an instance with SIGSTOP; returns once it stands still."""
        process = self._running[service, instance]
        await self._pauses.pause(process)
        return {"instance": instance, "pid": process.pid}

    async def resume(self, service: str, instance: int) -> None:
        """Let an instance go on, if it was paused and has not ended; returns once it does."""
        await self._pauses.resume(self._running[service, instance])

    async def paused(self, service: str, instance: int, within_s: float) -> bool:
        """Whether an instance stands still, and gives no answer at its own port."""
        wired = self._instances[service, instance]
        canary = await exchange(wired.listen, "http", wired.health, within_s)
        silent = not canary.refused and canary.answered_s is None
        return silent and state_of(self._running[service, instance].pid) == "T"

    async def exited(self, service: str, instance: int, within_s: float) -> dict[str, Any]:
        """Wait for the end of an instance; empty when it still runs."""
        process = self._running[service, instance]
        try:
            async with asyncio.timeout(within_s):
                code = await process.wait()
        except TimeoutError:
            return {}
        ended_ns = process.exited_at_ns or time.monotonic_ns()
        since_ns = self._signalled_ns.get((service, instance), ended_ns)
        return {"exit_code": code, "after_s": (ended_ns - since_ns) / 1e9}

    async def _ready(self, wired: Instance, process: Process) -> None:
        async with aiohttp.ClientSession(trust_env=False) as session:
            while not await answers(session, f"http://{wired.listen}{wired.health}"):
                if process.returncode is not None:
                    raise self._not_ready(wired, f"ended with exit code {process.returncode} while starting")
                await asyncio.sleep(0.05)
        if self._consul is None or wired.service not in self._world.topology.discovered():
            return  # nobody looks for it there, so it need not be there
        host, _, port = wired.listen.rpartition(":")
        await self._consul.registered(self._cell, wired.service, host, int(port))

    def _not_ready(self, wired: Instance, cause: str) -> CellError:
        log = self._world.log(f"{self._cell}.{wired.name}")
        said = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
        last = f"; it last said: {said[0][:300]}" if said else ""
        return CellError(f"{self._cell}/{wired.name}", cause + last, f"see {log}")


class LocalCell:
    """One running copy of the system; implements `brownout.cell.Cell`."""

    def __init__(
        self,
        name: str,
        wiring: Wiring,
        network: EdgeNetwork,
        processes: LocalProcesses,
        servers: OwnServers,
        telemetry: ServerTelemetry,
        stores: LocalStores,
        registry: Registered,
        configuration: Keys,
    ) -> None:
        self.name = name
        self.network = network
        self.processes = processes
        self.servers = servers
        self.telemetry = telemetry
        self.stores = stores
        self.registry = registry
        self.configuration = configuration
        self._wiring = wiring

    def url(self, service: str) -> str:
        """The address of a service's first instance, its own port.

        Raises:
            CellError: the service does not run in this cell.
        """
        for each in self._wiring.instances:
            if each.service == service:
                return f"http://{each.listen}"
        running = ", ".join(dict.fromkeys(each.service for each in self._wiring.instances))
        raise CellError(self.name, f"no {service} in this cell; there are {running}")

    def side_url(self, service: str) -> str:
        """The address of the harness's own proxy to a service's first instance."""
        edge = Edge(HARNESS, service)
        return next(f"http://{proxy.listen}" for proxy in self._wiring.proxies if proxy.edge == edge)

    async def heal(self) -> list[str]:
        """Lift whatever is left of a fault on any edge."""
        return await self.network.heal()


@asynccontextmanager
async def local_cell(
    world: World,
    name: str,
    services: tuple[str, ...],
    *,
    instances: Mapping[str, int] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
    private: tuple[str, ...] = (),
) -> AsyncIterator[LocalCell]:
    """Hold a cell open: its own servers, databases, proxies and services; ready when every instance is.

    Raises:
        CellError: a part of it could not be started.
        ServerError: a server of its own could not.
    """
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(own_servers(name, private, world.programs, world.supervisor, world.log))
        servers = msgspec.structs.replace(world.servers, **own.addresses())

        def listener(_name: str) -> Listener:
            taken = world.listeners.take()
            stack.callback(world.listeners.give_back, taken)
            return taken

        wiring = wire(
            world.topology,
            name,
            services,
            lambda _name: f"127.0.0.1:{free_port()}",
            _named(postgres=servers.postgres, consul=servers.consul, otlp=servers.otlp),
            listener,
            instances=instances,
            environment=environment,
        )
        toxiproxy = await stack.enter_async_context(
            Toxiproxy(
                servers.toxiproxy,
                journal=world.supervisor.journal,
                process=world.supervisor.identity("toxiproxy"),
            )
        )
        consul = await stack.enter_async_context(Consul(servers.consul)) if servers.consul else None
        network = EdgeNetwork(toxiproxy, wiring.proxies)
        databases = []
        if servers.postgres:
            databases.append(stack.enter_async_context(own_databases(servers.postgres, wiring.databases)))
        await asyncio.gather(network.create(), *databases)
        stack.push_async_callback(network.destroy)
        processes = LocalProcesses(world, name, wiring, consul)
        stack.push_async_callback(processes.end_all)
        await processes.start_all()
        if world.servers.consul and "consul" in private:
            found = [each for each in wiring.instances if "consul" in world.topology.words(each.service)]
            await stack.enter_async_context(scraped(world.servers.consul, name, found))
        telemetry = ServerTelemetry(servers.jaeger, servers.prometheus, name)
        stores = LocalStores(name, servers.postgres, Topics(servers.kafka.direct) if servers.kafka else None)
        yield LocalCell(
            name, wiring, network, processes, own, telemetry, stores, Registered(consul, name), Keys(consul, name)
        )


def _named(**addresses: str | None) -> dict[str, str]:
    """The addresses of the servers that there are."""
    return {name: address for name, address in addresses.items() if address}
