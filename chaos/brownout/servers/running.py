"""All servers of a run, started at once and held open."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from brownout.servers import consul, jaeger, kafka, postgres, prometheus, toxiproxy
from brownout.servers.kafka import KafkaAddresses
from brownout.servers.program import Program
from brownout.servers.stage import Stage, persistently
from brownout.undo.supervisor import Supervisor

__all__ = ["Addresses", "running"]

_STARTS: Mapping[str, Callable[[Program, Stage], Awaitable[Any]]] = {
    "toxiproxy": toxiproxy.start,
    "consul": consul.start,
    "postgres": postgres.start,
    "jaeger": jaeger.start,
    "kafka": kafka.start,
}
"""What needs no other; Prometheus is told where two of them are."""


class Addresses(msgspec.Struct, frozen=True):
    """Where the servers listen, each as ``127.0.0.1:port``; None where no topology needs one.

    Attributes:
        toxiproxy: its API.
        consul: its HTTP API.
        postgres: its protocol; user postgres, no password.
        otlp: Jaeger's OTLP over HTTP.
        jaeger: Jaeger's query API.
        prometheus: its API.
        kafka: where the broker is reached.
    """

    toxiproxy: str
    consul: str | None = None
    postgres: str | None = None
    otlp: str | None = None
    jaeger: str | None = None
    prometheus: str | None = None
    kafka: KafkaAddresses | None = None


@asynccontextmanager
async def running(
    programs: Mapping[str, Program], supervisor: Supervisor, scratch: Path, log: Callable[[str], Path]
) -> AsyncIterator[Addresses]:
    """Hold servers open; they end with the supervisor.

    Args:
        programs: what `provide` returned: Toxiproxy, and those of the others that are wanted.
        supervisor: starts and ends them.
        scratch: a folder for their files.
        log: the file for the output of a server of that name.

    Raises:
        ServerError: one did not start; the first that failed.
    """
    yield await _start_all(programs, Stage(supervisor, scratch, log))


async def _start_all(programs: Mapping[str, Program], stage: Stage) -> Addresses:
    begun: dict[str, asyncio.Task[Any]] = {}

    async def observing() -> str:
        addresses = {"toxiproxy": await begun["toxiproxy"], "consul": await begun["consul"]}
        return await persistently(lambda: prometheus.start(programs["prometheus"], stage, **addresses))

    try:
        async with asyncio.TaskGroup() as group:
            for name, start in _STARTS.items():
                if name in programs:
                    begun[name] = group.create_task(persistently(partial(start, programs[name], stage)))
            if "prometheus" in programs:
                begun["prometheus"] = group.create_task(observing())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    addresses = {name: task.result() for name, task in begun.items()}
    if "jaeger" in addresses:
        addresses["otlp"], addresses["jaeger"] = addresses["jaeger"]
    return Addresses(**addresses)
