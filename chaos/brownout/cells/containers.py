"""The containers of a Compose project, by the Docker SDK: found, and stopped, paused, started and copied."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

import docker
import docker.errors
import requests

from brownout.errors import CellError, FaultError
from brownout.mending import Journal, Undo

__all__ = ["Container", "Ended", "Project", "project"]

LABEL = "com.docker.compose."
"""Of what Compose says of a container; see its documentation."""

ENGINE_S = 60
"""Longest that an answer of the engine may take; to stop a container is the slowest, with a second."""

POLL_S = 0.2
"""How often a container is looked at whose end is waited for; when it ended, the engine knows."""

GONE_S = 10.0
"""How long a container may take to be gone after SIGKILL."""

SIGNALLED = 128
"""An exit code above it is a signal's, by the shell's custom, which is Docker's."""

FAILURES = (docker.errors.DockerException, requests.RequestException)

T = TypeVar("T")


class Ended(NamedTuple):
    """How a container's program ended.

    Attributes:
        exit_code: its own, or the negative number of the signal that ended it.
        at_s: when, in Unix time.
    """

    exit_code: int
    at_s: float


class Container:
    """One container. All calls to the engine run in one thread, in order: see `brownout.cells.toxiproxy`.

    Args:
        handle: the SDK's.
        journal: what is stopped here is written there before.
        server: the engine's socket.

    Attributes:
        name: its name.
        address: its IP address in the project's network, the last one while it does not run.
        pid: of its program, on this machine; 0 while it does not run.
    """

    def __init__(self, handle: Any, journal: Journal, server: str) -> None:
        self.name: str = handle.name
        self._handle = handle
        self._journal = journal
        self._server = server
        self._worker = ThreadPoolExecutor(1, self.name)
        self.address, self.pid = "", 0
        self._take()

    @property
    def runs(self) -> bool:
        """Whether it ran when it was last looked at."""
        return bool(self._handle.attrs["State"]["Running"])

    @property
    def paused(self) -> bool:
        """Whether it stood still when it was last looked at."""
        return bool(self._handle.attrs["State"]["Paused"])

    async def look(self) -> None:
        """See how it is now.

        Raises:
            FaultError: the engine did not answer.
        """
        await self._do(self._handle.reload)
        self._take()

    async def start(self) -> None:
        """Start its program, if it does not run; it may have another address then.

        Raises:
            FaultError: the engine refused.
        """
        await self._do(self._handle.start)
        await self.look()
        self._journal.undone(self._stop)

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End its program by a signal, if it runs; returns its exit code once it is gone.

        Whoever outlives the runner starts it again.

        Raises:
            FaultError: the engine refused, or it does not end.
        """
        await asyncio.to_thread(self._journal.begun, self._stop)
        return await self.end(number)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Do as `stop`; nobody starts it again.

        Raises:
            FaultError: the engine refused, or it does not end.
        """
        await self.send(number)
        if (ended := await self.ended(GONE_S)) is None:
            raise FaultError(self.name, f"has not ended within {GONE_S:g} s of {number.name}")
        return ended.exit_code

    async def send(self, number: signal.Signals) -> None:
        """Send its program a signal; one that has ended gets none.

        Raises:
            FaultError: the engine refused.
        """
        await self.look()
        if self.runs:
            await self._do(partial(self._kill, number))

    async def ended(self, within_s: float) -> Ended | None:
        """Wait for the end of its program; None when it still runs.

        Raises:
            FaultError: the engine did not answer.
        """
        last_s = asyncio.get_running_loop().time() + within_s
        await self.look()
        while self.runs and asyncio.get_running_loop().time() < last_s:
            await asyncio.sleep(POLL_S)
            await self.look()
        state = self._handle.attrs["State"]
        if state["Running"]:
            return None
        code = int(state["ExitCode"])
        ended_at = datetime.fromisoformat(state["FinishedAt"])
        return Ended(SIGNALLED - code if code > SIGNALLED else code, ended_at.timestamp())

    async def pause(self) -> None:
        """Freeze its processes (the kernel's cgroup freezer); returns once they stand still.

        Raises:
            FaultError: the engine refused.
        """
        await self._do(self._handle.pause)

    async def resume(self) -> None:
        """Let its processes go on, if they stand still.

        Raises:
            FaultError: the engine refused.
        """
        await self.look()
        if self.paused:
            await self._do(self._handle.unpause)

    async def output(self) -> bytes:
        """What its program has said.

        Raises:
            FaultError: the engine did not answer.
        """
        said: bytes = await self._do(self._handle.logs)
        return said

    async def remove(self) -> None:
        """End it, and leave nothing of it.

        Raises:
            FaultError: the engine refused.
        """
        await self._do(self._remove)
        self._journal.undone(Undo("remove", server=self._server, container=self.name))
        self._worker.shutdown(wait=False)

    async def copy(self, name: str, host: str, environment: Mapping[str, str]) -> "Container":
        """Make a container of the same image, settings and limits; it does not run yet.

        Whoever outlives the runner removes it.

        Args:
            name: its name.
            host: the host name by which others in the network find it.
            environment: settings, over those of this one.

        Raises:
            FaultError: the engine refused: it has one of that name, say.
        """
        config = _copied(self._handle.attrs, host, environment)
        made = Undo("remove", server=self._server, container=name)
        await asyncio.to_thread(self._journal.begun, made)
        handle = await self._do(partial(self._create, config, name))
        return Container(handle, self._journal, self._server)

    @property
    def _stop(self) -> Undo:
        return Undo("start", server=self._server, container=self.name)

    def _take(self) -> None:
        attributes = self._handle.attrs
        self.pid = int(attributes["State"].get("Pid") or 0)
        for network in attributes["NetworkSettings"]["Networks"].values():
            self.address = network["IPAddress"] or self.address

    def _kill(self, number: signal.Signals) -> None:
        try:
            self._handle.kill(signal=number.value)
        except docker.errors.APIError:
            self._handle.reload()
            if self._handle.attrs["State"]["Running"]:  # it has not ended between look and signal
                raise

    def _remove(self) -> None:
        with contextlib.suppress(docker.errors.NotFound):  # the watchdog was first
            self._handle.remove(force=True, v=True)

    def _create(self, config: dict[str, Any], name: str) -> Any:
        client = self._handle.client
        made = client.api.create_container_from_config(config, name)
        return client.containers.get(made["Id"])

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except FAILURES as error:
            raise FaultError(self.name, f"Docker: {error}") from error


class Project:
    """The containers that Compose has started of one file.

    Args:
        name: the project's.
        containers: by the service's name in the file.
    """

    def __init__(self, name: str, containers: Mapping[str, Container]) -> None:
        self.name = name
        self._containers = containers

    def __getitem__(self, service: str) -> Container:
        """The container of a service of the file.

        Raises:
            CellError: it has none.
        """
        if service not in self._containers:
            raise CellError(self.name, f"has no container of {service}", "docker compose up --build --wait makes it")
        return self._containers[service]


@contextlib.asynccontextmanager
async def project(name: str, journal: Journal) -> AsyncIterator[Project]:
    """Hold a connection to the engine open, and what it has of a project.

    Args:
        name: the project's.
        journal: see `Container`.

    Raises:
        CellError: there is no engine on this machine, or it has nothing of the project.
    """
    server = _socket()
    try:
        client = await asyncio.to_thread(docker.DockerClient, f"unix://{server}", timeout=ENGINE_S)
    except FAILURES as error:
        raise CellError("docker", f"nobody answers at {server}: {error}", "start it, or set DOCKER_HOST") from None
    try:
        containers = await asyncio.to_thread(_found, client, name)
        if not containers:
            raise CellError(name, "no containers of this project", "docker compose up --build --wait makes them")
        yield Project(name, {service: Container(one, journal, server) for service, one in containers.items()})
    finally:
        await asyncio.to_thread(client.close)


def _found(client: Any, name: str) -> dict[str, Any]:
    """The project's containers by their services, without those that were made to run once."""
    labels = [f"{LABEL}project={name}", f"{LABEL}oneoff=False"]
    listed = client.containers.list(all=True, filters={"label": labels})
    return {one.labels[f"{LABEL}service"]: one for one in listed}


def _socket() -> str:
    """The path of the engine's socket.

    Raises:
        CellError: it is another machine's; the addresses of its containers cannot be reached from here.
    """
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        raise CellError("docker", f"the engine at {host} is another machine's", "set DOCKER_HOST to unix://PATH")
    return host.removeprefix("unix://")


def _copied(attributes: Mapping[str, Any], host: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a copy is made from: the same, but for its host name, its environment, and ports that users look at."""
    config, (network, *_) = attributes["Config"], attributes["NetworkSettings"]["Networks"]
    env = dict(each.partition("=")[::2] for each in config["Env"]) | dict(environment)
    return {
        **{key: value for key, value in config.items() if key not in {"Hostname", "ExposedPorts"}},
        "Image": attributes["Image"],  # what runs, whatever has its name by now
        "Env": [f"{key}={value}" for key, value in env.items()],
        "Labels": {**config["Labels"], f"{LABEL}oneoff": "True"},
        "Healthcheck": {"Test": ["NONE"]},  # whoever made it asks
        "HostConfig": {**attributes["HostConfig"], "PortBindings": {}, "RestartPolicy": {"Name": "no"}},
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [host]}}},
    }
