"""All servers of a run, started at once and held open."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from brownout.servers import consul, jaeger, kafka, postgres, prometheus, toxiproxy
from brownout.servers.kafka import KafkaAddresses
from brownout.servers.program import Program
from brownout.servers.stage import Stage, persistently
from brownout.undo.supervisor import Supervisor

__all__ = ["Addresses", "running"]


class Addresses(msgspec.Struct, frozen=True):
    """Where the servers listen, each as ``127.0.0.1:port``.

    Attributes:
        toxiproxy: its API.
        consul: its HTTP API.
        postgres: its protocol; user postgres, no password.
        otlp: Jaeger's OTLP over HTTP.
        jaeger: Jaeger's query API.
        prometheus: its API.
        kafka: where the broker is reached; None where no topology names one.
    """

    toxiproxy: str
    consul: str
    postgres: str
    otlp: str
    jaeger: str
    prometheus: str
    kafka: KafkaAddresses | None = None


@asynccontextmanager
async def running(
    programs: Mapping[str, Program], supervisor: Supervisor, scratch: Path, log: Callable[[str], Path]
) -> AsyncIterator[Addresses]:
    """Hold servers open; they end with the supervisor.

    Args:
        programs: what `provide` returned; Kafka is started only if it is among them.
        supervisor: starts and ends them.
        scratch: a folder for their files.
        log: the file for the output of a server of that name.

    Raises:
        ServerError: one did not start; the first that failed.
    """
    yield await _start_all(programs, Stage(supervisor, scratch, log))


async def _start_all(programs: Mapping[str, Program], stage: Stage) -> Addresses:
    async def observed(proxies: "asyncio.Task[str]", registry: "asyncio.Task[str]") -> str:
        addresses = {"toxiproxy": await proxies, "consul": await registry}
        return await persistently(lambda: prometheus.start(programs["prometheus"], stage, **addresses))

    try:
        async with asyncio.TaskGroup() as group:
            proxies = group.create_task(persistently(lambda: toxiproxy.start(programs["toxiproxy"], stage)))
            registry = group.create_task(persistently(lambda: consul.start(programs["consul"], stage)))
            databases = group.create_task(persistently(lambda: postgres.start(programs["postgres"], stage)))
            traces = group.create_task(persistently(lambda: jaeger.start(programs["jaeger"], stage)))
            metrics = group.create_task(observed(proxies, registry))
            events = group.create_task(_broker(programs, stage))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    otlp, query = traces.result()
    return Addresses(
        toxiproxy=proxies.result(),
        consul=registry.result(),
        postgres=databases.result(),
        otlp=otlp,
        jaeger=query,
        prometheus=metrics.result(),
        kafka=events.result(),
    )


async def _broker(programs: Mapping[str, Program], stage: Stage) -> KafkaAddresses | None:
    if "kafka" not in programs:
        return None
    return await persistently(lambda: kafka.start(programs["kafka"], stage))
