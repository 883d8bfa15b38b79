"""The containers that Compose has started of one file, and the copies that a gate makes of them."""

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import cycle
from typing import Any

import docker
import docker.errors

from brownout.cells.containers import FAILURES, Container
from brownout.errors import CellError
from brownout.mending import Journal, Undo

__all__ = ["COPY", "Project", "project"]

LABEL = "com.docker.compose."
"""Of what Compose says of a container; see its documentation."""

COPY = "brownout.copy"
"""The label of a copy: the project's name."""

ENGINE_S = 60
"""Longest that an answer of the engine may take; to remove a container is the slowest, with half a second."""

CONNECTIONS = 64
"""Kept to the engine: each of that many containers may be asked for at the same time."""


class Project:
    """The containers that Compose has started of one file, and their copies.

    Args:
        name: the project's.
        client: the SDK's.
        server: the engine's socket.
        journal: each copy is written there before it is made.
        containers: by the service's name in the file.
    """

    def __init__(
        self, name: str, client: docker.APIClient, server: str, journal: Journal, containers: Mapping[str, Container]
    ) -> None:
        self.name = name
        self._client = client
        self._server = server
        self._journal = journal
        self._containers = containers
        self._copies: set[Container] = set()
        self._addresses: dict[str, Iterator[str]] = {}
        self._looking = asyncio.Lock()

    def __getitem__(self, service: str) -> Container:
        """The container of a service of the file.

        Raises:
            CellError: it has none, or that does not run.
        """
        there = self._containers.get(service)
        if there is None or not there.runs:
            what = "has no container of" if there is None else "has stopped its"
            raise CellError(self.name, f"{what} {service}", "docker compose up --build --wait starts it")
        return there

    def copy_of(self, name: str) -> Container:
        """A container that is a copy as soon as it is made; it is removed whatever becomes of the runner."""
        made = Container(self._client, f"{self.name}-{name}")
        self._copies.add(made)
        return made

    async def make(
        self, copy: Container, service: str, host: str, environment: Mapping[str, str] | None = None
    ) -> None:
        """Make a copy: same image, settings and limits, an address of its own; it does not run yet.

        Args:
            copy: see `copy_of`.
            service: of the file, whose container it is a copy of.
            host: the name by which others in the network find it.
            environment: settings, over those of that one.

        Raises:
            CellError: there is nothing to copy, or no address to be had.
            FaultError: the engine refused: it has one of that name, say.
        """
        original = self[service].attributes
        (network, *_) = original["NetworkSettings"]["Networks"]
        async with self._looking:  # all cells' copies are made at the same time
            if network not in self._addresses:
                self._addresses[network] = cycle(await asyncio.to_thread(self._ours, network))
        address = next(self._addresses[network])
        config = _copied(original, self.name, environment or {}, {network: _endpoint(host, address)})
        await asyncio.to_thread(self._journal.begun, self._removal(copy))
        await copy.make(config)

    async def remove(self, copy: Container) -> None:
        """End a copy, and leave nothing of it.

        Raises:
            FaultError: the engine refused.
        """
        await copy.remove()
        await asyncio.to_thread(copy.close)
        self._journal.undone(self._removal(copy))
        self._copies.discard(copy)

    async def sweep(self) -> None:
        """Remove every copy that there is, of this run or of one before; those that are being made at last.

        Raises:
            BrownoutError: the engine refused.
        """
        copies, self._copies = self._copies, set()
        for copy in copies:
            await asyncio.to_thread(copy.close)
        try:
            left = await asyncio.to_thread(self._left)
        except FAILURES as error:
            raise CellError("docker", str(error)) from None
        await asyncio.gather(*(each.remove() for each in left))
        for each in left:
            each.close()

    def close(self) -> None:
        """Let all threads go."""
        for each in self._containers.values():
            each.close()

    def _removal(self, copy: Container) -> Undo:
        return Undo("remove", server=self._server, container=copy.name)

    def _left(self) -> list[Container]:
        listed = self._client.containers(all=True, filters={"label": f"{COPY}={self.name}"})
        return [Container(self._client, each["Names"][0].removeprefix("/")) for each in listed]

    def _ours(self, network: str) -> list[str]:
        """The addresses of a network that Compose gives to nobody, so that a stopped copy's is never another's.

        Raises:
            CellError: there are none.
        """
        try:
            pools = self._client.inspect_network(network)["IPAM"]["Config"]
        except FAILURES as error:
            raise CellError(network, f"Docker: {error}") from None
        for pool in pools:
            if pool.get("IPRange") and pool["IPRange"] != pool["Subnet"]:
                given = ipaddress.ip_network(pool["IPRange"])
                hosts = ipaddress.ip_network(pool["Subnet"]).hosts()
                return [str(host) for host in hosts if host not in given and str(host) != pool.get("Gateway")]
        remedy = "docker compose down, then up, of this docker-compose.yml"
        raise CellError(network, "has no addresses besides those that Compose gives", remedy)


@contextlib.asynccontextmanager
async def project(name: str, journal: Journal) -> AsyncIterator[Project]:
    """Hold a connection to the engine open, and what it has of a project; nobody else holds the same one.

    Args:
        name: the project's.
        journal: see `Project`.

    Raises:
        CellError: there is no engine on this machine, it has nothing of the project, or another run holds it.
    """
    server = _socket()
    with _alone(name):
        client = await asyncio.to_thread(_connected, server)
        try:
            async with contextlib.AsyncExitStack() as stack:
                held = Project(name, client, server, journal, await _found(client, name))
                stack.callback(held.close)
                await held.sweep()
                stack.push_async_callback(held.sweep)
                yield held
        finally:
            await asyncio.to_thread(client.close)


async def _found(client: docker.APIClient, name: str) -> dict[str, Container]:
    """The project's containers by their services, without copies and those that were made to run once.

    Raises:
        CellError: there are none, or the engine does not answer.
    """
    labels = [f"{LABEL}project={name}", f"{LABEL}oneoff=False"]
    try:
        listed = await asyncio.to_thread(client.containers, all=True, filters={"label": labels})
    except FAILURES as error:
        raise CellError("docker", str(error)) from None
    if not listed:
        remedy = "docker compose up --build --wait makes them; COMPOSE_PROJECT_NAME says which project"
        raise CellError(name, "no containers of this project", remedy)
    found = {one["Labels"][f"{LABEL}service"]: Container(client, one["Names"][0].removeprefix("/")) for one in listed}
    await asyncio.gather(*(each.look() for each in found.values()))
    return found


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Hold a project's place on this machine: the kernel's name for a socket, which ends with its process.

    Raises:
        CellError: somebody else has it.
    """
    with socket.socket(socket.AF_UNIX) as place:
        try:
            place.bind(f"\0brownout-on-{name}")
        except OSError:
            raise CellError(name, "another run has this project", "wait for its end") from None
        yield


def _connected(server: str) -> docker.APIClient:
    try:
        with socket.socket(socket.AF_UNIX) as tried:  # the SDK wraps four errors into each other
            tried.settimeout(ENGINE_S)
            tried.connect(server)
    except PermissionError as error:
        remedy = "run as root, or as a member of the group docker"
        raise CellError("docker", f"{server}: {error.strerror}", remedy) from None
    except OSError as error:
        raise CellError("docker", f"{server}: {error.strerror or error}", "start it, or set DOCKER_HOST") from None
    try:
        return docker.APIClient(f"unix://{server}", timeout=ENGINE_S, max_pool_size=CONNECTIONS)
    except docker.errors.InvalidVersion as error:
        raise CellError("docker", str(error), "install a newer one") from None
    except FAILURES as error:
        raise CellError("docker", f"{server}: {error}") from None


def _socket() -> str:
    """The path of the engine's socket.

    Raises:
        CellError: it is another machine's; the addresses of its containers cannot be reached from here.
    """
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        raise CellError("docker", f"the engine at {host} is another machine's", "set DOCKER_HOST to unix://PATH")
    return host.removeprefix("unix://")


def _copied(
    attributes: Mapping[str, Any], project_name: str, environment: Mapping[str, str], endpoints: Mapping[str, Any]
) -> dict[str, Any]:
    """What a copy is made from: the same, but for its names, settings, ports that users look at, and what it keeps."""
    config, host = attributes["Config"], attributes["HostConfig"]
    env = dict(each.partition("=")[::2] for each in config["Env"]) | dict(environment)
    return {
        **{key: value for key, value in config.items() if key not in {"Hostname", "ExposedPorts", "MacAddress"}},
        "Image": attributes["Image"],  # what runs, whatever has its name by now
        "Env": [f"{key}={value}" for key, value in env.items()],
        "Labels": {**config["Labels"], f"{LABEL}oneoff": "True", COPY: project_name},
        "Healthcheck": {"Test": ["NONE"]},  # whoever made it asks
        "HostConfig": {
            **host,
            "Binds": [each for each in host.get("Binds") or () if each.startswith("/")],
            "Mounts": [each for each in host.get("Mounts") or () if each["Type"] != "volume"],
            "PortBindings": {},
            "RestartPolicy": {"Name": "no"},
        },
        "NetworkingConfig": {"EndpointsConfig": dict(endpoints)},
    }


def _endpoint(host: str, address: str) -> dict[str, Any]:
    return {"Aliases": [host], "IPAMConfig": {"IPv4Address": address}}
