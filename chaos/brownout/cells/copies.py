"""The services of a cell as containers: each a copy of the project's own."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from brownout.cells.canary import exchange
from brownout.cells.composed import container_of
from brownout.cells.consul import Consul
from brownout.cells.containers import Container
from brownout.cells.project import Project
from brownout.cells.ready import READY_S, answers
from brownout.cells.wiring import Instance
from brownout.errors import CellError
from brownout.processors import waited_s
from brownout.topology import Topology

__all__ = ["Copies"]

POLL_S = 0.5
"""To ask the engine whether a container still runs takes 5 ms of a processor, for each of those that start."""


class Copies:
    """The services of a cell as containers; implements `brownout.cell.Processes`.

    Args:
        project: whose own they are copies of.
        topology: the system's table.
        log: where what is called so writes its output.
        cell: the cell's name.
        instances: those that run.
        changed: of each, the settings that differ from those of the project's own container.
        consul: where they register; None where nobody does.
    """

    def __init__(
        self,
        project: Project,
        topology: Topology,
        log: Callable[[str], Path],
        cell: str,
        instances: tuple[Instance, ...],
        changed: Mapping[str, Mapping[str, str]],
        consul: Consul | None,
    ) -> None:
        self._project = project
        self._topology = topology
        self._log = log
        self._cell = cell
        self._instances = {(each.service, each.number): each for each in instances}
        self._changed = changed
        self._consul = consul
        self._containers = {key: project.copy_of(f"{cell}-{each.name}") for key, each in self._instances.items()}
        self._signalled_s: dict[tuple[str, int], float] = {}

    def instances(self, service: str) -> int:
        """How many instances a service has."""
        return sum(name == service for name, _ in self._instances)

    def waited_s(self) -> dict[str, float]:
        """How long each running instance has waited for a processor since it was started, by its name."""
        running = {key: container.pid for key, container in self._containers.items() if container.pid}
        return {self._instances[key].name: waited_s(pid) for key, pid in running.items()}

    def address(self, service: str, instance: int = 0) -> str:
        """Where an instance listens, its own port.

        Raises:
            CellError: the service does not run in this cell.
        """
        if (service, instance) not in self._containers:
            running = ", ".join(dict.fromkeys(name for name, _ in self._instances))
            raise CellError(self._cell, f"no {service} in this cell; there are {running}")
        port = self._instances[service, instance].listen.rpartition(":")[2]
        return f"{self._containers[service, instance].address}:{port}"

    async def start_all(self) -> None:
        """Make and start every instance; returns when all answer and are registered."""
        await asyncio.gather(*(self._make(each) for each in self._instances.values()))

    async def start(self, service: str, instance: int) -> None:
        """Start an instance; returns when it answers and is registered.

        Raises:
            CellError: it ended, or was not ready in time.
        """
        wired = self._instances[service, instance]
        container = self._containers[service, instance]
        try:
            async with asyncio.timeout(READY_S):
                await container.start()
                await self._ready(wired, container)
        except TimeoutError:
            raise await self._not_ready(container, f"not ready within {READY_S:g} s") from None

    async def end_all(self) -> None:
        """End every instance at once, and keep what it said."""
        await asyncio.gather(*(self._end(key, container) for key, container in self._containers.items()))

    async def kill(self, service: str, instance: int) -> dict[str, Any]:
        """End an instance with SIGKILL, if it still runs; returns its exit code once it is gone."""
        return {"instance": instance, "exit_code": await self._containers[service, instance].end()}

    async def terminate(self, service: str, instance: int) -> dict[str, Any]:
        """Send SIGTERM to an instance."""
        container = self._containers[service, instance]
        self._signalled_s[service, instance] = time.time()
        await container.send(signal.SIGTERM)
        return {"pid": container.pid}

    async def pause(self, service: str, instance: int) -> dict[str, Any]:
        """Freeze an instance; returns once it stands still."""
        container = self._containers[service, instance]
        await container.pause()
        return {"instance": instance, "pid": container.pid}

    async def resume(self, service: str, instance: int) -> None:
        """Let an instance go on, if it was paused and has not ended; returns once it does."""
        await self._containers[service, instance].resume()

    async def paused(self, service: str, instance: int, within_s: float) -> bool:
        """Whether an instance stands still, and gives no answer at its own port."""
        health = self._instances[service, instance].health
        canary = await exchange(self.address(service, instance), "http", health, within_s)
        container = self._containers[service, instance]
        await container.look()
        return container.paused and not canary.refused and canary.answered_s is None

    async def exited(self, service: str, instance: int, within_s: float) -> dict[str, Any]:
        """Wait for the end of an instance; empty when it still runs."""
        ended = await self._containers[service, instance].ended(within_s)
        if ended is None:
            return {}
        since_s = self._signalled_s.get((service, instance), ended.at_s)
        return {"exit_code": ended.exit_code, "after_s": ended.at_s - since_s}

    async def _make(self, wired: Instance) -> None:
        container = self._containers[wired.service, wired.number]
        original, host = container_of(wired.service, 0), wired.listen.rpartition(":")[0]
        await self._project.make(container, original, host, self._changed[wired.name])
        await self.start(wired.service, wired.number)

    async def _end(self, key: tuple[str, int], container: Container) -> None:
        log = self._log(f"{self._cell}.{self._instances[key].name}")
        await asyncio.to_thread(log.write_bytes, await container.output())
        await self._project.remove(container)

    async def _ready(self, wired: Instance, container: Container) -> None:
        async with aiohttp.ClientSession(trust_env=False) as session:
            while not await answers(session, f"http://{self.address(wired.service, wired.number)}{wired.health}"):
                if (ended := await container.ended(0)) is not None:
                    raise await self._not_ready(container, f"ended with exit code {ended.exit_code} while starting")
                await asyncio.sleep(POLL_S)
        if self._consul is None or wired.service not in self._topology.discovered():
            return  # nobody looks for it there, so it need not be there
        host, _, port = wired.listen.rpartition(":")
        await self._consul.registered(self._cell, wired.service, host, int(port))

    async def _not_ready(self, container: Container, cause: str) -> CellError:
        said = (await container.output()).decode(errors="replace").strip().splitlines()[-1:]
        return CellError(container.name, cause + (f"; it last said: {said[0][:300]}" if said else ""))
