"""One container, by the Docker SDK: made, started, stopped, paused, asked what it said, and removed."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

import docker
import docker.errors
import requests

from brownout.errors import FaultError

__all__ = ["FAILURES", "Container", "Ended"]

POLL_S = 0.2
"""How often a container is looked at whose end is waited for; when it ended, the engine knows."""

GONE_S = 10.0
"""How long a container may take to be gone after SIGKILL."""

SIGNALLED = 128
"""An exit code above it is a signal's, by the shell's custom, which is Docker's."""

FAILURES = (docker.errors.DockerException, requests.RequestException)
"""How a call fails when the engine refuses or does not answer."""

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
        client: the SDK's.
        name: its own.

    Attributes:
        name: the same.
        attributes: what the engine said of it when it was last looked at; empty before.
    """

    def __init__(self, client: docker.APIClient, name: str) -> None:
        self.name = name
        self.attributes: dict[str, Any] = {}
        self._client = client
        self._worker = ThreadPoolExecutor(1, name)

    @property
    def address(self) -> str:
        """Its IP address in the project's network; a copy has the same one whether it runs or not."""
        networks = self.attributes.get("NetworkSettings", {}).get("Networks", {})
        its = [each["IPAddress"] or (each.get("IPAMConfig") or {}).get("IPv4Address", "") for each in networks.values()]
        return str(its[0]) if its else ""

    @property
    def pid(self) -> int:
        """Of its program, on this machine; 0 while it does not run."""
        return int(self._state.get("Pid", 0))

    @property
    def runs(self) -> bool:
        """Whether it ran when it was last looked at."""
        return bool(self._state.get("Running"))

    @property
    def paused(self) -> bool:
        """Whether it stood still when it was last looked at."""
        return bool(self._state.get("Paused"))

    async def look(self) -> None:
        """See how it is now.

        Raises:
            FaultError: the engine did not answer.
        """
        self.attributes = await self._do(partial(self._client.inspect_container, self.name))

    async def make(self, config: Mapping[str, Any]) -> None:
        """Make it; it does not run yet.

        Raises:
            FaultError: the engine refused: it has one of that name, say.
        """
        await self._do(partial(self._client.create_container_from_config, config, self.name))

    async def start(self) -> None:
        """Start its program, if it does not run.

        Raises:
            FaultError: the engine refused.
        """
        await self._do(partial(self._client.start, self.name))
        await self.look()

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End its program by a signal, if it runs; returns its exit code once it is gone.

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
        await self._do(partial(self._send, number))

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
        if self.runs:
            return None
        code = int(self._state["ExitCode"])
        ended_at = datetime.fromisoformat(self._state["FinishedAt"])
        return Ended(SIGNALLED - code if code > SIGNALLED else code, ended_at.timestamp())

    async def pause(self) -> None:
        """Freeze its processes (the kernel's cgroup freezer); returns once they stand still.

        Raises:
            FaultError: the engine refused.
        """
        await self._do(partial(self._client.pause, self.name))

    async def resume(self) -> None:
        """Let its processes go on, if they stand still.

        Raises:
            FaultError: the engine refused.
        """
        await self.look()
        if self.paused:
            await self._do(partial(self._client.unpause, self.name))

    async def output(self) -> bytes:
        """What its program has said; nothing where it is not there.

        Raises:
            FaultError: the engine did not answer.
        """
        return await self._do(self._output)

    async def remove(self) -> None:
        """End it, and leave nothing of it.

        Raises:
            FaultError: the engine refused.
        """
        await self._do(self._remove)

    def close(self) -> None:
        """Let its thread go; it waits for the call under way, if any, and makes no other."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    @property
    def _state(self) -> Mapping[str, Any]:
        state: Mapping[str, Any] = self.attributes.get("State", {})
        return state

    def _send(self, number: signal.Signals) -> None:
        if not self._client.inspect_container(self.name)["State"]["Running"]:
            return
        try:
            self._client.kill(self.name, number.value)
        except docker.errors.APIError:
            if self._client.inspect_container(self.name)["State"]["Running"]:  # it has not ended in between
                raise

    def _output(self) -> bytes:
        with contextlib.suppress(docker.errors.NotFound):
            said: bytes = self._client.logs(self.name)
            return said
        return b""

    def _remove(self) -> None:
        last_s = time.monotonic() + GONE_S
        while True:
            try:
                self._client.remove_container(self.name, v=True, force=True)
            except docker.errors.NotFound:  # the watchdog was first
                return
            except docker.errors.APIError:  # same, and it is not done yet; or its program is just about to end
                if time.monotonic() > last_s:
                    raise
            else:
                return
            time.sleep(POLL_S)

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except FAILURES as error:
            raise FaultError(self.name, f"Docker: {error}") from error
        except RuntimeError:  # of a thread that was let go
            raise FaultError(self.name, "the run is over") from None
