"""What a cell offers to those who break and measure it: small protocols, implemented in ``cells``."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from brownout.recording import Series, Span
from brownout.topology import Edge

__all__ = [
    "Bite",
    "Canary",
    "Cell",
    "Configuration",
    "Fault",
    "Network",
    "Processes",
    "Registry",
    "Servers",
    "Stores",
    "Telemetry",
    "Toxic",
]


class Toxic(msgspec.Struct, frozen=True):
    """One of Toxiproxy's toxics: its type and its attributes, whole numbers."""

    type: str
    attributes: dict[str, int]


class Canary(msgspec.Struct, frozen=True):
    """What one exchange with an edge's callee saw: refused, answered after some seconds, or silent."""

    refused: bool = False
    answered_s: float | None = None


class Network(Protocol):
    """The edges of a cell; every method acts on all proxies of the edge."""

    async def add_toxic(self, edge: Edge, toxic: Toxic) -> dict[str, Any]:
        """Put a toxic on an edge; returns it as the proxy read it back.

        Raises:
            FaultError: the proxy refused it, or what it read back is not what was asked for.
        """

    async def remove_toxic(self, edge: Edge, toxic: Toxic) -> None:
        """Take a toxic off an edge."""

    async def switch(self, edge: Edge, *, on: bool) -> dict[str, Any]:
        """Let an edge accept connections, or cut and refuse them; returns what the proxy read back."""

    async def carried_bytes(self, edge: Edge) -> dict[str, int]:
        """Bytes that an edge has carried, by direction; cuts its open connections, or they would not count."""

    async def canary(self, edge: Edge, within_s: float) -> Canary:
        """Talk to the callee through the edge's own proxy and say what came of it."""


class Processes(Protocol):
    """The running services of a cell."""

    async def kill(self, service: str, instance: int) -> dict[str, Any]:
        """End an instance with SIGKILL; returns its exit code, as ``exit_code``, once it is gone."""

    async def terminate(self, service: str, instance: int) -> dict[str, Any]:
        """Send SIGTERM to an instance; returns its pid at once."""

    async def pause(self, service: str, instance: int) -> dict[str, Any]:
        """Stop an instance where it is with SIGSTOP; returns its pid, once it stands still.

        Raises:
            FaultError: it does not.
        """

    async def resume(self, service: str, instance: int) -> None:
        """Let a paused instance go on, if it has not ended; returns once it does.

        Raises:
            FaultError: it does not.
        """

    async def paused(self, service: str, instance: int, within_s: float) -> bool:
        """Whether an instance stands still, and gives no answer when it is asked for its health."""

    async def exited(self, service: str, instance: int, within_s: float) -> dict[str, Any]:
        """Wait for the end of an instance: ``exit_code`` and ``after_s``; without them when it still runs."""

    async def start(self, service: str, instance: int) -> None:
        """Start an instance again, and wait until it answers and is registered."""

    def instances(self, service: str) -> int:
        """How many instances a service has."""

    def waited_s(self) -> dict[str, float]:
        """How long each running instance has waited for a processor since it was started, by its name."""


class Telemetry(Protocol):
    """What the observing servers know of a cell."""

    async def collect(
        self, from_ns: int, to_ns: int, traces: frozenset[str]
    ) -> tuple[list[Span] | None, list[Series] | None]:
        """Spans and metric series of a time, once everything has arrived: bounded waiting for the last.

        None in the place of what the system is not wired to show; see `Recording`.
        """

    async def evaluate(self, query: str, from_ns: int, to_ns: int) -> list[Series]:
        """What a query comes to over a time, a point each `SCRAPE_S`; ``$cell`` in it is the cell's name.

        Raises:
            CellError: it is no query, or the server did not answer.
        """


class Stores(Protocol):
    """What a cell's services keep and tell each other, beside them: no proxy between."""

    async def select(self, service: str, sql: str) -> list[dict[str, Any]]:
        """The rows of a query on a service's own database; their values are fit for JSON.

        Raises:
            CellError: the database refused it or did not answer, or there are too many rows.
        """

    async def messages(self, topic: str) -> list[dict[str, Any]]:
        """All messages of a topic of the cell, each with ``key``, ``value`` and ``headers``.

        Raises:
            CellError: the broker did not answer.
        """

    async def publish(self, topic: str, value: str) -> int:
        """Put a message on a topic of the cell, or all that are there once more; returns how many were put there.

        Args:
            topic: without the cell's prefix.
            value: the message's text; empty: each that is there, as it is.

        Raises:
            CellError: the broker did not answer.
        """


class Registry(Protocol):
    """Who is registered in a cell, beside its services: no proxy between."""

    async def passing(self, service: str) -> list[str]:
        """The ids of a service's instances that pass.

        Raises:
            CellError: the registry did not answer, or there is none.
        """

    async def forget(self, service: str) -> list[str]:
        """Take every instance of a service out, as a restarted agent has lost it; returns their ids.

        Raises:
            CellError: the registry did not answer, or there is none.
        """


class Configuration(Protocol):
    """The keys that a cell's services are configured by while they run, written beside them: no proxy between."""

    async def put(self, key: str, value: str) -> None:
        """Give a key of the cell a value; it can be read on return.

        Raises:
            CellError: it was not written.
        """


class Servers(Protocol):
    """The servers that a cell has to itself: to stop one harms nobody else."""

    async def stop(self, server: str) -> dict[str, Any]:
        """End a server at once, as a crash does; returns its exit code, as ``exit_code``, once it is gone.

        Raises:
            FaultError: it does not end, or the cell shares it with others.
        """

    async def start(self, server: str) -> dict[str, Any]:
        """Start a server again, at the same address; returns its ``address`` once it answers.

        Raises:
            FaultError: it does not, or the cell shares it with others.
        """

    async def canary(self, server: str, within_s: float) -> Canary:
        """Talk to a server at its own address, no proxy between, and say what came of it."""


class Cell(Protocol):
    """One isolated running copy of the system."""

    @property
    def name(self) -> str:
        """Its name: the environment in traces, the label ``cell`` in metrics."""

    @property
    def network(self) -> Network:
        """Its edges."""

    @property
    def processes(self) -> Processes:
        """Its running services."""

    @property
    def servers(self) -> Servers:
        """The servers that it has to itself."""

    @property
    def telemetry(self) -> Telemetry:
        """What the observing servers know of it."""

    @property
    def stores(self) -> Stores:
        """What its services keep."""

    @property
    def registry(self) -> Registry:
        """Who is registered in it."""

    @property
    def configuration(self) -> Configuration:
        """The keys that its services are configured by."""

    def url(self, service: str) -> str:
        """The address of a service's first instance, its own port: no proxy between."""

    def side_url(self, service: str) -> str:
        """An address of the same instance through a second proxy, which no fault touches."""

    async def heal(self) -> list[str]:
        """Lift whatever is left of a fault; returns what was found, in words."""


class Bite(msgspec.Struct, frozen=True):
    """Whether a fault was seen to act, and how it was seen."""

    bit: bool
    seen: str
    detail: dict[str, Any] = {}


class Fault(Protocol):
    """Something that can be done to a cell, and is always undone."""

    def injected(self, cell: Cell) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Hold the fault open; yields what was read back once it is in force."""

    async def bites(self, cell: Cell) -> Bite:
        """Look, from outside, whether the fault acts."""
