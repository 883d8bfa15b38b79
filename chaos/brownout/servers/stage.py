"""Where servers are started: the supervisor, the folders, and the wait until one answers."""

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from brownout.errors import ServerError
from brownout.servers.program import Program
from brownout.undo import Process, Supervisor

__all__ = ["PortTakenError", "Ready", "Stage", "http", "persistently"]

T = TypeVar("T")

Ready = Callable[[], Awaitable[bool]]
"""Asks whether a server answers."""

READY_S = 60.0
"""Longest that a server may take to answer: on a busy machine the first start reads 100 MB from disk."""

POLL_S = 0.02
TRIES = 3


class PortTakenError(ServerError):
    """Another program took the port between its choice and its use."""


class Stage(msgspec.Struct, frozen=True):
    """Where servers are started.

    Attributes:
        supervisor: starts and ends them.
        scratch: a folder for their files, which ends with the run.
        log: the file for the output of a server of that name.
    """

    supervisor: Supervisor
    scratch: Path
    log: Callable[[str], Path]

    async def launch(
        self,
        program: Program,
        arguments: Sequence[str],
        *,
        ready: Ready,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: int | None = None,
        stop: signal.Signals = signal.SIGKILL,
    ) -> Process:
        """Start a server and wait until it answers.

        Args:
            program: what to start.
            arguments: its arguments.
            ready: asks whether it answers.
            env: what to add to its environment.
            cwd: where it runs.
            user: the uid it runs as.
            stop: the signal that ends it.

        Raises:
            PortTakenError: one of its ports is taken.
            ServerError: it ended, or does not answer in time; quotes its last words.
        """
        if await ready():
            raise PortTakenError(program.name, "another program answers at its address")
        log = self.log(program.name)
        earlier = log.stat().st_size if log.exists() else 0
        process = await self.supervisor.spawn(
            program.name,
            [*program.command, *arguments],
            env=self.environment() | dict(env or {}),
            log=log,
            cwd=cwd or self.scratch,
            user=user,
            stop=stop,
        )
        try:
            async with asyncio.timeout(READY_S):
                answers = False
                while not answers:
                    await asyncio.sleep(POLL_S)
                    answers = await ready()  # perhaps another program's answer: ours may have been too late
                    _check(program, process, log.read_bytes()[earlier:].decode(errors="replace").strip())
        except TimeoutError:
            process.signal(signal.SIGKILL)
            cause = f"{program.path} does not answer within {READY_S:g} s"
            raise ServerError(program.name, cause, f"see {log}") from None
        except PortTakenError:
            process.signal(signal.SIGKILL)
            raise
        return process

    def environment(self) -> dict[str, str]:
        """What a server gets of the environment: nothing that would send it through a proxy or change its settings."""
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.scratch), "LC_ALL": "C"}


async def persistently(start: Callable[[], Awaitable[T]]) -> T:
    """Start a server, again on other ports where one was taken, ``TRIES`` times in all.

    Raises:
        ServerError: it cannot be started.
    """
    for _ in range(TRIES - 1):
        try:
            return await start()
        except PortTakenError:
            continue
    return await start()


def http(url: str, accept: Callable[[bytes], bool] = lambda _: True) -> Ready:
    """Ready when a GET succeeds with a body that is accepted."""

    async def answers() -> bool:
        limit = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as response:
                return response.ok and accept(await response.read())
        except (aiohttp.ClientError, TimeoutError):
            return False

    return answers


def _check(program: Program, process: Process, said: str) -> None:
    """Find out from its end or its words that it will never answer."""
    if "address already in use" in said.lower():  # not every server ends then: Toxiproxy goes on without its API
        raise PortTakenError(program.name, "one of its ports is taken by another program", f"see {process.log}")
    if process.returncode is not None:
        cause = f"{program.path} ended with {process.returncode} while starting{_last_words(said)}"
        raise ServerError(program.name, cause, f"see {process.log}")


def _last_words(said: str) -> str:
    """The last line, above the usage text that many programs put under an error."""
    spoken = re.split("^usage:", said, maxsplit=1, flags=re.IGNORECASE | re.MULTILINE)[0].strip()
    return f": {spoken.splitlines()[-1][:200]}" if spoken else ""
