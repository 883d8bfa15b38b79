"""What the harness asks Consul: who is registered and passing in a cell, and to keep a cell's keys."""

import asyncio
from typing import Any

import msgspec

from brownout.cells.api import Api
from brownout.errors import CellError

__all__ = ["Consul", "Keys", "Registered", "Registration"]

POLL_WAIT_S = 5
"""How long one blocking query is held by the agent."""

_MARGIN_S = 5.0  # over a query's wait, the agent adds up to a sixteenth of it


class Registration(msgspec.Struct, frozen=True):
    """An instance as the agent has it, with the status *passing*."""

    id: str
    service: str
    host: str
    port: int
    meta: dict[str, str]


class Consul(Api):
    """One Consul agent.

    Args:
        address: ``host:port`` of its HTTP API.
    """

    def __init__(self, address: str) -> None:
        super().__init__("consul", address, POLL_WAIT_S + _MARGIN_S)

    async def passing(self, cell: str, service: str) -> list[Registration]:
        """The instances of a service in a cell whose checks all pass.

        Raises:
            CellError: the agent did not answer.
        """
        found, _ = await self._passing(cell, service, 0)
        return found

    async def registered(self, cell: str, service: str, host: str, port: int, within_s: float = 60.0) -> Registration:
        """Wait until the instance of a service that listens there is registered and passing.

        Raises:
            CellError: it is not within ``within_s``, or the agent did not answer.
        """
        found: list[Registration] = []
        index = 0
        try:
            async with asyncio.timeout(within_s):
                while True:
                    found, index = await self._passing(cell, service, index)
                    for instance in found:
                        if (instance.host, instance.port) == (host, port):
                            return instance
        except TimeoutError:
            there = ", ".join(f"{each.host}:{each.port}" for each in found) or "none"
            raise CellError(
                f"{cell}/{service}",
                f"{host}:{port} is not passing in Consul within {within_s:g} s; {there} is",
            ) from None

    async def register(self, instance: Registration) -> None:
        """Put an instance in, without a check.

        Raises:
            CellError: the agent did not answer, or refused.
        """
        known = {"ID": instance.id, "Name": instance.service, "Address": instance.host, "Port": instance.port}
        await self.ask("PUT", "/v1/agent/service/register", json={**known, "Meta": instance.meta})

    async def deregister(self, instance_id: str) -> None:
        """Take an instance out.

        Raises:
            CellError: the agent did not answer, or has no such instance.
        """
        await self.ask("PUT", f"/v1/agent/service/deregister/{instance_id}")

    async def put(self, key: str, value: str) -> None:
        """Give a key a value.

        Raises:
            CellError: the agent did not answer, or did not write it.
        """
        written, _ = await self.ask("PUT", f"/v1/kv/{key}", data=value.encode())
        if not msgspec.json.decode(written):
            raise CellError("consul", f"the key {key} was not written")

    async def _passing(self, cell: str, service: str, index: int) -> tuple[list[Registration], int]:
        """Ask once something is newer than ``index``, or after ``POLL_WAIT_S``; returns the new index as well."""
        entries, answered = await self._get(
            f"/v1/health/service/{service}",
            passing="true",
            filter=f'Service.Meta.cell == "{cell}"',
            index=str(index),
            wait=f"{POLL_WAIT_S}s",
        )
        found = [_registration(entry["Service"]) for entry in entries]
        return found, answered if answered >= index else 0  # a restarted agent counts from the start again

    async def _get(self, path: str, **query: str) -> tuple[Any, int]:
        body, headers = await self.ask("GET", path, params=query)
        return msgspec.json.decode(body), int(headers.get("X-Consul-Index", "0"))


class Keys:
    """The keys of one cell, below its name; implements `brownout.cell.Configuration`.

    Args:
        consul: the agent; None where the system has no registry.
        cell: the cell's name.
    """

    def __init__(self, consul: Consul | None, cell: str) -> None:
        self._consul = consul
        self._cell = cell

    async def put(self, key: str, value: str) -> None:
        """Give a key of the cell a value.

        Raises:
            CellError: the agent did not answer, did not write it, or there is none.
        """
        if self._consul is None:
            raise CellError(self._cell, f"no registry to keep {key!r} in", "name {consul} in the topology")
        await self._consul.put(f"{self._cell}/{key}", value)


class Registered:
    """Who is registered in one cell; implements `brownout.cell.Registry`.

    Args:
        consul: the agent; None where the system has no registry.
        cell: the cell's name.
    """

    def __init__(self, consul: Consul | None, cell: str) -> None:
        self._consul = consul
        self._cell = cell

    async def passing(self, service: str) -> list[str]:
        """The ids of a service's instances that pass.

        Raises:
            CellError: the agent did not answer, or there is none.
        """
        return sorted(instance.id for instance in await self._agent(service).passing(self._cell, service))

    async def forget(self, service: str) -> list[str]:
        """Take every instance of a service out; returns their ids.

        Raises:
            CellError: the agent did not answer, or there is none.
        """
        there = await self.passing(service)
        for instance_id in there:
            await self._agent(service).deregister(instance_id)
        return there

    def _agent(self, service: str) -> Consul:
        if self._consul is None:
            raise CellError(self._cell, f"no registry to look for {service!r} in", "name {consul} in the topology")
        return self._consul


def _registration(service: dict[str, Any]) -> Registration:
    return Registration(service["ID"], service["Service"], service["Address"], service["Port"], service["Meta"] or {})
