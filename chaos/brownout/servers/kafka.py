"""Kafka: one broker that is its own controller, with a listener for every edge that leads to it."""

import asyncio
import shutil
import struct
from pathlib import Path

import msgspec

from brownout.servers.ports import free_port, free_ports, held_ports
from brownout.servers.program import Jars, Program, Recipe
from brownout.servers.stage import Stage

__all__ = ["LISTENERS", "RECIPE", "KafkaAddresses", "Listener", "api_versions", "start"]

RECIPE = Recipe(
    name="kafka",
    binary="kafka_2.13-4.1.0.jar",
    version="4.1.0",
    version_argv=("kafka.Kafka", "--version"),
    at_least=(4, 1),  # the storage is written here, by hand, as this version reads it
    origin=Jars(java=(17,)),
    cost="10 s, 43 MB of jars",
)

LISTENERS = 120
"""Edges that may lead to the broker at the same time; each costs 0.25 MB and 2 threads (measured: 1 against 80)."""

READY_S = 2.0
"""Longest that one question whether it is ready may take."""

_JVM = (
    "-Xms32m",
    "-Xmx256m",
    "-Xss256k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # ready after 2.1 CPU-seconds, and after 3.8 with all compilers (measured)
    "-XX:-UsePerfData",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "DIRECT",
    "num.network.threads": 1,  # of each listener
    "num.io.threads": 2,
    "background.threads": 1,
    "auto.create.topics.enable": "true",
    "num.partitions": 1,
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "log.cleaner.enable": "false",  # it would take 128 MB, and nothing lives long enough to be cleaned
}

_STORAGE = """\
version=1
cluster.id=brownoutAAAAAAAAAAAAAA
node.id=1
directory.id=brownoutAAAAAAAAAAAAAB
"""
"""What formatting leaves in the storage (``kafka.tools.StorageTool``), without a second Java that writes it."""

_CORRELATION = 1
_API_VERSIONS = struct.pack("!ihhih", 10, 18, 0, _CORRELATION, -1)
"""Kafka protocol guide, ApiVersions v0: size, API key, version, correlation id, no client id."""


class Listener(msgspec.Struct, frozen=True):
    """One of the broker's listeners, for one edge; both addresses are ``127.0.0.1:port``.

    Attributes:
        upstream: where the broker listens.
        advertised: where it tells clients to go: a proxy is to listen there. Nobody else takes it, see `held_ports`.
    """

    upstream: str
    advertised: str


class KafkaAddresses(msgspec.Struct, frozen=True):
    """Where the broker is reached.

    Attributes:
        direct: the harness's own way, which no fault touches.
        listeners: one for each edge, ``LISTENERS`` in all.
    """

    direct: str
    listeners: tuple[Listener, ...]


async def start(program: Program, stage: Stage) -> KafkaAddresses:
    """Start it on empty storage and return where it listens; topics are made when they are first named."""
    controller = free_port()
    addresses = _addresses()
    folder = stage.scratch / "kafka"
    await asyncio.to_thread(_write, folder, addresses, controller)
    await stage.launch(
        program,
        [*_JVM, f"-Djava.io.tmpdir={folder}", "kafka.Kafka", str(folder / "server.properties")],
        ready=lambda: _answers(addresses),
    )
    return addresses


async def api_versions(address: str) -> None:
    """Ask a broker what it speaks, the first question of every client, and read the whole answer.

    Raises:
        OSError: there is no connection.
        EOFError: it ended within the answer.
    """
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(_API_VERSIONS)
        (size,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(size)
    finally:
        writer.close()


async def _answers(addresses: KafkaAddresses) -> bool:
    """Whether every listener answers: they open one after the other."""
    try:
        async with asyncio.timeout(READY_S):
            await api_versions(addresses.direct)
            for listener in addresses.listeners:
                await api_versions(listener.upstream)
    except (OSError, EOFError, TimeoutError):
        return False
    return True


def _addresses() -> KafkaAddresses:
    direct, *upstream = free_ports(LISTENERS + 1)
    pairs = zip(upstream, held_ports(LISTENERS), strict=True)
    return KafkaAddresses(
        f"127.0.0.1:{direct}",
        tuple(Listener(f"127.0.0.1:{listens}", f"127.0.0.1:{advertised}") for listens, advertised in pairs),
    )


def _write(folder: Path, addresses: KafkaAddresses, controller: int) -> None:
    """Write its settings and its formatted, empty storage."""
    shutil.rmtree(folder, ignore_errors=True)
    storage = folder / "storage"
    storage.mkdir(parents=True)
    (storage / "meta.properties").write_text(_STORAGE)
    settings = {**_SETTINGS, **_listening(addresses, f"127.0.0.1:{controller}"), "log.dirs": storage}
    (folder / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


def _listening(addresses: KafkaAddresses, controller: str) -> dict[str, str]:
    edges = {f"EDGE{number}": listener for number, listener in enumerate(addresses.listeners)}
    bound = {"DIRECT": addresses.direct, "CONTROLLER": controller}
    bound |= {name: listener.upstream for name, listener in edges.items()}
    advertised = {"DIRECT": addresses.direct} | {name: listener.advertised for name, listener in edges.items()}
    return {
        "controller.quorum.voters": f"1@{controller}",
        "listeners": ",".join(f"{name}://{address}" for name, address in bound.items()),
        "advertised.listeners": ",".join(f"{name}://{address}" for name, address in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in bound),
    }
