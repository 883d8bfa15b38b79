"""A cell without a system: it keeps what is done to it, and nothing else. The engine's own tests run in it."""

from typing import Any

import msgspec

from brownout.cell import Canary, Toxic
from brownout.errors import CellError, FaultError
from brownout.recording import Series, Span
from brownout.topology import Edge

__all__ = [
    "FakeCell",
    "FakeConfiguration",
    "FakeNetwork",
    "FakeProcesses",
    "FakeRegistry",
    "FakeServers",
    "FakeStores",
    "FakeTelemetry",
]


class FakeNetwork:
    """Edges as a table of what holds on them.

    Args:
        edges: those that there are; any other raises FaultError, as a proxy that is not there would.
    """

    def __init__(self, *edges: Edge) -> None:
        self.toxics: dict[Edge, list[Toxic]] = {edge: [] for edge in edges}
        self.off: set[Edge] = set()

    async def add_toxic(self, edge: Edge, toxic: Toxic) -> dict[str, Any]:
        """Put a toxic on an edge."""
        self._known(edge).append(toxic)
        return {"toxics": [msgspec.to_builtins(toxic)]}

    async def remove_toxic(self, edge: Edge, toxic: Toxic) -> None:
        """Take it off, if it is there."""
        if toxic in self._known(edge):
            self._known(edge).remove(toxic)

    async def switch(self, edge: Edge, *, on: bool) -> dict[str, Any]:
        """Let connections through, or refuse them."""
        self._known(edge)
        (self.off.discard if on else self.off.add)(edge)
        return {"enabled": on}

    async def carried_bytes(self, edge: Edge) -> dict[str, int]:
        """No edge of a fake carries anything."""
        self._known(edge)
        return {"upstream": 0, "downstream": 0}

    async def canary(self, edge: Edge, within_s: float) -> Canary:
        """What an exchange would see, from the table."""
        if edge in self.off:
            return Canary(refused=True)
        held = {toxic.type: toxic for toxic in self._known(edge)}
        if "timeout" in held:
            return Canary()
        latency_s = held["latency"].attributes.get("latency", 0) / 1000 if "latency" in held else 0.0
        return Canary(answered_s=latency_s if latency_s <= within_s else None)

    async def heal(self) -> list[str]:
        """Lift everything, and say what there was."""
        left = [f"{toxic.type} on {edge}" for edge, held in self.toxics.items() for toxic in held]
        left += [f"{edge} switched off" for edge in self.off]
        self.off.clear()
        for held in self.toxics.values():
            held.clear()
        return left

    def _known(self, edge: Edge) -> list[Toxic]:
        if edge not in self.toxics:
            raise FaultError(str(edge), "no such edge in this cell")
        return self.toxics[edge]


class FakeProcesses:
    """Services as a table of which instances run, and the exit code of those that ended."""

    def __init__(self, **instances: int) -> None:
        self.exit_codes: dict[tuple[str, int], int | None] = {
            (service, number): None for service, count in instances.items() for number in range(count)
        }
        self.standing_still: set[tuple[str, int]] = set()

    def waited_s(self) -> dict[str, float]:
        """Nobody waits for a processor."""
        return {}

    async def kill(self, service: str, instance: int) -> dict[str, Any]:
        """End an instance, unless it has ended."""
        code = self.exit_codes[service, instance]
        self.exit_codes[service, instance] = -9 if code is None else code
        return {"exit_code": self.exit_codes[service, instance]}

    async def terminate(self, service: str, instance: int) -> dict[str, Any]:
        """End an instance gracefully, and at once."""
        self.exit_codes[service, instance] = 0
        return {"pid": 1}

    async def pause(self, service: str, instance: int) -> dict[str, Any]:
        """Let an instance stand still."""
        self.standing_still.add((service, instance))
        return {"instance": instance, "pid": 1}

    async def resume(self, service: str, instance: int) -> None:
        """Let it go on."""
        self.standing_still.discard((service, instance))

    async def paused(
        self,
        service: str,
        instance: int,
        within_s: float,  # noqa: ARG002 - the Protocol's: nobody has to be asked
    ) -> bool:
        """Whether it stands still."""
        return (service, instance) in self.standing_still

    async def exited(
        self,
        service: str,
        instance: int,
        within_s: float,  # noqa: ARG002 - the Protocol's: a fake has nothing to wait for
    ) -> dict[str, Any]:
        """How an instance ended; empty when it runs."""
        code = self.exit_codes[service, instance]
        return {} if code is None else {"exit_code": code, "after_s": 0.0}

    async def start(self, service: str, instance: int) -> None:
        """Start an instance again."""
        self.exit_codes[service, instance] = None

    def instances(self, service: str) -> int:
        """How many instances a service has."""
        return sum(name == service for name, _ in self.exit_codes)


class FakeTelemetry:
    """Observing servers that know what they were told when they were made."""

    def __init__(
        self,
        spans: list[Span] | None = None,
        series: list[Series] | None = None,
        queried: dict[str, list[Series]] | None = None,
        *,
        blind: bool = False,
    ) -> None:
        self._blind = blind
        self._known = ([] if spans is None else spans, [] if series is None else series)
        self._queried = {} if queried is None else queried

    async def collect(
        self, from_ns: int, to_ns: int, traces: frozenset[str]
    ) -> tuple[list[Span] | None, list[Series] | None]:
        """The spans of the traces within the time, and all series; neither of a system that shows nothing."""
        if self._blind:
            return None, None
        spans, series = self._known
        return [s for s in spans if s.trace_id in traces and from_ns <= s.start_ns <= to_ns], series

    async def evaluate(self, query: str, from_ns: int, to_ns: int) -> list[Series]:
        """What it was told a query comes to, within the time."""
        if query not in self._queried:
            raise CellError("prometheus", f"{query}: unknown")
        return [
            Series(each.labels, [point for point in each.points if from_ns <= point[0] * 1e9 <= to_ns])
            for each in self._queried[query]
        ]


class FakeStores:
    """Databases and topics as tables that a test keeps and fills.

    Args:
        rows: by service and query.
        messages: by topic.
    """

    def __init__(
        self,
        rows: dict[tuple[str, str], list[dict[str, Any]]] | None = None,
        messages: dict[str, list[dict[str, Any]]] | None = None,
    ) -> None:
        self._rows = {} if rows is None else rows
        self._messages = {} if messages is None else messages

    async def select(self, service: str, sql: str) -> list[dict[str, Any]]:
        """The rows as they are now."""
        if (service, sql) not in self._rows:
            raise CellError(service, f"no such table: {sql}")
        return list(self._rows[service, sql])

    async def messages(self, topic: str) -> list[dict[str, Any]]:
        """The messages so far; none of a topic that there is not."""
        return list(self._messages.get(topic, []))

    async def publish(self, topic: str, value: str) -> int:
        """Put a message on a topic, or all that are there once more."""
        there = self._messages.setdefault(topic, [])
        more = [{"key": "", "value": value, "headers": {}}] if value else list(there)
        there += more
        return len(more)


class FakeRegistry:
    """Registrations as a table of ids by service."""

    def __init__(self, **instances: list[str]) -> None:
        self.instances = instances

    async def passing(self, service: str) -> list[str]:
        """The ids of a service's instances."""
        return list(self.instances.get(service, []))

    async def forget(self, service: str) -> list[str]:
        """Take them all out."""
        return self.instances.pop(service, [])


class FakeConfiguration:
    """Keys as a table."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def put(self, key: str, value: str) -> None:
        """Give a key a value."""
        self.values[key] = value


class FakeServers:
    """Servers of the cell's own as a table of which are stopped."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.stopped: set[str] = set()

    async def stop(self, server: str) -> dict[str, Any]:
        """End a server."""
        self.stopped.add(self._known(server))
        return {"exit_code": -9}

    async def start(self, server: str) -> dict[str, Any]:
        """Start it again."""
        self.stopped.discard(self._known(server))
        return {"address": f"{server}.invalid"}

    async def canary(
        self,
        server: str,
        within_s: float,  # noqa: ARG002 - the Protocol's: a fake answers at once
    ) -> Canary:
        """What an exchange would see."""
        return Canary(refused=True) if self._known(server) in self.stopped else Canary(answered_s=0.0)

    def _known(self, server: str) -> str:
        if server not in self.names:
            raise FaultError(server, "is shared by all cells")
        return server


class FakeCell:
    """A cell of the fakes above."""

    def __init__(
        self,
        network: FakeNetwork,
        processes: FakeProcesses,
        telemetry: FakeTelemetry,
        name: str = "fake",
        *,
        stores: FakeStores | None = None,
        configuration: FakeConfiguration | None = None,
        registry: FakeRegistry | None = None,
        servers: FakeServers | None = None,
    ) -> None:
        self.name = name
        self.network = network
        self.processes = processes
        self.telemetry = telemetry
        self.stores = stores or FakeStores()
        self.configuration = configuration or FakeConfiguration()
        self.registry = registry or FakeRegistry()
        self.servers = servers or FakeServers()

    def url(self, service: str) -> str:
        """An address that nobody listens on; a driver of the tests' own answers for it."""
        return f"http://{service}.invalid"

    def side_url(self, service: str) -> str:
        """The same, beside every fault."""
        return f"http://{service}.aside.invalid"

    async def heal(self) -> list[str]:
        """Lift what is left on the edges."""
        return await self.network.heal()
