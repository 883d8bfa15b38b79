"""The registry: tells Consul where this process is, and knows where the others are (clause 4.1)."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from brownout_shop.discovery.consul import NOT_FOUND, UNREACHABLE, newer, told

__all__ = ["Instance", "Registration", "Registry"]

CHECK_INTERVAL_S, CHECK_TIMEOUT_S = 10, 3
ANSWER_WITHIN_S = 2.5
KEEP_EVERY_S = 3.0
RETRY_S = 1.0
RETURN_WITHIN_S = 10.0  # a service that the agent lost is back by then (clause 4.1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Instance:
    """One passing instance of a service.

    Args:
        id: its id in the registry.
        address: its plain ``host:port``.
        tagged: its addresses for certain callers, such as ``via-orders``.
    """

    id: str
    address: str
    tagged: Mapping[str, str] = field(default_factory=dict)

    def address_for(self, caller: str, port: str = "") -> str:
        """Return the ``host:port`` that `caller` shall use for one of its ports; the one without a name is HTTP's.

        Raises:
            KeyError: it has no port of that name.
        """
        if port:
            return self.tagged.get(f"{port}-via-{caller}") or self.tagged[port]
        return self.tagged.get(f"via-{caller}", self.address)


@dataclass(frozen=True, slots=True)
class Registration:
    """What Consul is told about a process.

    Args:
        service: the service's name.
        instance: the process's name in its cell; the registry's id carries the cell as well.
        cell: the environment, in the metadata.
        host: the real address, where the health check goes.
        port: the real port.
        tagged: Consul's tagged addresses, as they are sent.
    """

    service: str
    instance: str
    cell: str
    host: str
    port: int
    tagged: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The service id."""
        return f"{self.cell}-{self.instance}"

    def document(self) -> dict[str, Any]:
        """Return the body of Consul's register call: passing at once, as the first check may come late."""
        return {
            "ID": self.id,
            "Name": self.service,
            "Address": self.host,
            "Port": self.port,
            "Meta": {"cell": self.cell, "instance": self.instance},
            "TaggedAddresses": dict(self.tagged),
            "Check": {
                "HTTP": f"http://{self.host}:{self.port}/health",
                "Interval": f"{CHECK_INTERVAL_S}s",
                "Timeout": f"{CHECK_TIMEOUT_S}s",
                "Status": "passing",
            },
        }


class Registry:
    """A process's view of Consul, kept up to date by tasks of its own while it is held open.

    Args:
        consul_url: base address of Consul's HTTP API.
        registration: this process.
    """

    def __init__(self, consul_url: str, registration: Registration) -> None:
        self._consul_url = consul_url.rstrip("/")
        self._registration = registration
        self._known: dict[str, tuple[Instance, ...]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession
        self.reachable = False
        """Whether Consul answered when it was last asked, which was at most 6 s ago."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        self._run("probe", self._probe())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._session.close()

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Return the passing instances of a watched service, as last known."""
        return self._known.get(service, ())

    def watch(self, service: str) -> None:
        """Begin to keep the list of a service's passing instances."""
        self._run(f"watch {service}", self._watch(service))

    def register(self) -> None:
        """Register this process, and again whenever the agent has lost it, until `deregister`."""
        self._run("probe", self._keep_registered())

    async def deregister(self) -> None:
        """Take this process out of the registry, with one attempt of at most 2 s (clause 6.6)."""
        self._tasks.pop("probe").cancel()
        try:
            await self._ask("PUT", f"/v1/agent/service/deregister/{self._registration.id}", within_s=2.0)
        except UNREACHABLE as error:
            log.warning("not deregistered: %s", told(error))

    def _run(self, name: str, task: Any) -> None:
        if name in self._tasks:
            self._tasks[name].cancel()
        self._tasks[name] = asyncio.create_task(task, name=name)

    async def _probe(self) -> None:
        """Before registration: only see whether Consul is there."""
        while True:
            with contextlib.suppress(*UNREACHABLE):
                await self._ask("GET", "/v1/status/leader")
            await asyncio.sleep(KEEP_EVERY_S if self.reachable else RETRY_S)

    async def _keep_registered(self) -> None:
        # A killed process left a registration that no longer passes, and registering over it keeps that.
        fresh = False
        while True:
            with contextlib.suppress(*UNREACHABLE):
                if not fresh:
                    await self._ask("PUT", f"/v1/agent/service/deregister/{self._registration.id}")
                    fresh = True
                if await self._ask("GET", f"/v1/agent/service/{self._registration.id}") is None:
                    await self._ask("PUT", "/v1/agent/service/register", self._registration.document())
                    log.info("registered as %s", self._registration.id)
            await asyncio.sleep(KEEP_EVERY_S if self.reachable else RETRY_S)

    async def _ask(self, method: str, path: str, document: object = None, *, within_s: float = ANSWER_WITHIN_S) -> Any:
        """Return the answer's body, or None for a 404, and note whether Consul could be reached."""
        try:
            timeout = aiohttp.ClientTimeout(total=within_s)
            url = self._consul_url + path
            async with self._session.request(method, url, json=document, timeout=timeout) as answer:
                body = await answer.read()
                if answer.status != NOT_FOUND:
                    answer.raise_for_status()
        except UNREACHABLE as error:
            if self.reachable:
                log.warning("Consul cannot be reached: %s", told(error))
            self.reachable = False
            raise
        self.reachable = True
        return None if answer.status == NOT_FOUND else body

    async def _watch(self, service: str) -> None:
        index, restarted_at = 0, -RETURN_WITHIN_S
        clock = asyncio.get_running_loop().time
        while True:
            try:
                previous, (index, instances) = index, await self._passing(service, index)
            except UNREACHABLE:
                await asyncio.sleep(RETRY_S)
                index, restarted_at = 0, clock()  # it may be another agent by then, which counts anew
                continue
            if index < previous:
                index, restarted_at = 0, clock()
            # An agent that restarted has forgotten everyone; they are about to register again.
            if instances or clock() - restarted_at > RETURN_WITHIN_S:
                self._known[service] = instances

    async def _passing(self, service: str, index: int) -> tuple[int, tuple[Instance, ...]]:
        index, entries = await newer(
            self._session,
            f"{self._consul_url}/v1/health/service/{service}",
            index,
            passing="1",
            filter=f'Service.Meta.cell == "{self._registration.cell}"',
        )
        return index, tuple(_instance(entry["Service"]) for entry in entries or ())


def _instance(service: Mapping[str, Any]) -> Instance:
    tagged = {tag: f"{to['Address']}:{to['Port']}" for tag, to in (service["TaggedAddresses"] or {}).items()}
    return Instance(service["ID"], f"{service['Address']}:{service['Port']}", tagged)
