"""The jars of a Java program: fetched by Maven or without it, and compared with the sums that are pinned."""

import asyncio
import hashlib
import os
import re
import shutil
from pathlib import Path

import msgspec

from brownout.errors import ServerError
from brownout.servers.go import MODULES
from brownout.servers.job import Job

__all__ = ["Jar", "get_jars", "locked"]

_DOWNLOADED = re.compile(r"Downloaded .*/(\S+\.jar)( |$)")
"""What Maven says of each file."""


class Jar(msgspec.Struct, frozen=True):
    """One jar, as ``jars.lock`` names it.

    Attributes:
        group: its Maven group, ``org.slf4j``.
        artifact: its name there.
        version: its version.
        sha256: the sum of the file.
    """

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """Its file's name."""
        return f"{self.artifact}-{self.version}.jar"


def locked(server: str) -> tuple[Jar, ...]:
    """The jars of a server, of lines ``<sum>  <group>:<artifact>:<version>``."""
    lines = (MODULES / server / "jars.lock").read_text().splitlines()
    return tuple(_jar(*line.split()) for line in lines)


def _jar(sha256: str, coordinates: str) -> Jar:
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, sha256)


async def get_jars(job: Job, folder: Path) -> None:
    """Put all jars of a server into a folder.

    Args:
        job: says which server, and is told how far it is.
        folder: an empty folder.

    Raises:
        ServerError: they cannot be had, or are not those that are locked.
    """
    jars = locked(job.recipe.name)
    job.tell("downloading jars", 0.0)
    if maven := shutil.which("mvn"):  # first, since it knows the user's mirrors
        await _by_maven(maven, job, jars, folder)
    else:
        await _without_maven(job, jars, folder)
    await asyncio.to_thread(_check, job, jars, folder)


async def _by_maven(maven: str, job: Job, jars: tuple[Jar, ...], folder: Path) -> None:
    missing = {jar.file for jar in jars}

    def advance(line: str) -> None:
        found = _DOWNLOADED.search(line)
        if found and found[1] in missing:
            missing.remove(found[1])
            job.tell("downloading jars", 1 - len(missing) / len(jars))

    command = [maven, "--batch-mode", "--strict-checksums", "--file", str(MODULES / job.recipe.name / "pom.xml")]
    command += [f"-Dmaven.repo.local={job.workshop / 'maven'}", f"-DoutputDirectory={folder}"]
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    await job.run([*command, *goal], env=os.environ, cwd=job.workshop, line=advance)


async def _without_maven(job: Job, jars: tuple[Jar, ...], folder: Path) -> None:
    for number, jar in enumerate(jars):
        await asyncio.to_thread(_fetch, job, jar, folder)
        job.tell("downloading jars", (number + 1) / len(jars))


def _fetch(job: Job, jar: Jar, folder: Path) -> None:
    """Fetch one jar from the repository that every Maven asks by default."""
    from jgo.maven import MavenContext  # noqa: PLC0415  it takes 0.2 s, and is needed once on a machine

    source = MavenContext(repo_cache=job.workshop / "maven")
    try:
        fetched = source.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (OSError, RuntimeError) as error:  # what requests raises is an OSError
        raise ServerError(
            job.recipe.name,
            f"{jar.file} cannot be downloaded: {error}",
            "put Maven on PATH, with a mirror in its settings that can be reached",
        ) from None
    fetched.rename(folder / jar.file)


def _check(job: Job, jars: tuple[Jar, ...], folder: Path) -> None:
    """Compare what came with what is locked: every name and every sum."""
    wanted = {jar.file: jar.sha256 for jar in jars}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jar")}
    if different := sorted(name for name, _ in wanted.items() ^ found.items()):
        raise ServerError(
            job.recipe.name,
            f"{different[0]} is not the jar that is pinned{_others(different)}",
            "do not use them; see which mirror they are from",
        )


def _others(names: list[str]) -> str:
    others = len(set(names)) - 1
    return f", nor are {others} others" if others else ""
