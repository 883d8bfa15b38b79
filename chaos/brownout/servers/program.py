"""What a server's program is: how to come by one, and where one came from."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

__all__ = [
    "Finding",
    "GoModule",
    "Jars",
    "Program",
    "Progress",
    "Recipe",
    "Release",
    "Source",
    "Wheel",
    "dotted",
    "runner_user",
]

Progress = Callable[[str, str, float | None], None]
"""Told a server's name, what is being done for it, and the fraction done where that is known."""

Source = Literal["PATH", "cache", "release", "build", "wheel", "jars"]

NOBODY = 65534
"""The uid that Postgres runs as where the harness is root, which it refuses to be."""


class Release(msgspec.Struct, frozen=True):
    """A project's own release; in both URLs ``{version}`` and ``{arch}`` (amd64, arm64) are filled in.

    Attributes:
        archive: URL of the .tar.gz or .zip that holds the binary.
        checksums: URL of the file with the SHA-256 sum of the archive.
    """

    archive: str
    checksums: str


class GoModule(msgspec.Struct, frozen=True):
    """A Go program, built in a folder whose go.mod and go.sum pin all that goes into it.

    Attributes:
        package: the import path of its main package.
        folder: where it is built; None: in ``modules/<server>``.
        tags: build tags.
        version_variable: the variable that the version is put into, or the program would not know its own.
        version_prefix: what goes before the version in that variable.
    """

    package: str
    folder: Path | None = None
    tags: tuple[str, ...] = ()
    version_variable: str = ""
    version_prefix: str = ""


class Jars(msgspec.Struct, frozen=True):
    """A Java program; ``modules/<server>`` has the pom.xml and the lock of its jars.

    Attributes:
        java: the oldest Java that runs it.
    """

    java: tuple[int, ...]


class Wheel(msgspec.Struct, frozen=True):
    """A program inside an installed Python package.

    Attributes:
        package: the import name.
        folders: what to copy, relative to site-packages: the programs and the libraries that they look for beside.
        binary: the program, relative to site-packages.
    """

    package: str
    folders: tuple[str, ...]
    binary: str


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How to come by one server.

    Attributes:
        name: what the server is called.
        binary: its program's file name.
        version: the version that is fetched or built.
        origin: what it is made from where it is not found.
        release: where its project publishes it, ready to run.
        version_argv: the arguments that make it print its version.
        at_least: the oldest version that has all that is used here.
        below: the first version that is another program; None: none is known.
        companions: programs that must stand beside it.
        user: the uid that it runs as; None: the harness's own.
        cost: what making it takes, in words.
        note: what a user should know of one made from its origin.
    """

    name: str
    binary: str
    version: str
    origin: GoModule | Wheel | Jars
    version_argv: tuple[str, ...]
    at_least: tuple[int, ...]
    cost: str
    release: Release | None = None
    below: tuple[int, ...] | None = None
    companions: tuple[str, ...] = ()
    user: int | None = None
    note: str = ""

    @property
    def folder(self) -> str:
        """Its folder in the cache."""
        return f"{self.name}-{self.version}"

    @property
    def wanted(self) -> str:
        """The program and the versions that are fit, in words."""
        below = f" and below {dotted(self.below)}" if self.below else ""
        return f"{self.binary} {dotted(self.at_least)} or newer{below}"

    @property
    def remedy(self) -> str:
        """What helps where it cannot be made."""
        if isinstance(self.origin, Jars):
            return (
                f"put Java {dotted(self.origin.java)} or newer on PATH, and Maven, or take one off that does not work"
            )
        return f"put {self.wanted} on PATH"


class Program(msgspec.Struct, frozen=True):
    """A program that was found or made, and runs here.

    Attributes:
        name: the server.
        path: its file.
        version: its version.
        source: where it came from.
        run_by: what runs it, a Java with its class path; empty where the file runs by itself.
    """

    name: str
    path: Path
    version: str
    source: Source
    run_by: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """What its arguments come after."""
        return self.run_by or (str(self.path),)


class Finding(msgspec.Struct, frozen=True):
    """What is known of one server's program, for a user to read.

    Attributes:
        name: the server.
        path: the program; None where there is none yet.
        version: of that program, or of the one that would be made.
        source: where it is or would be from.
        missing: what is not there, and what it will cost; empty when all is.
        remedy: the one thing that would help; empty when nothing is missing.
        note: what else to know.
    """

    name: str
    path: Path | None
    version: str
    source: Source
    missing: str = ""
    remedy: str = ""
    note: str = ""


def runner_user() -> int | None:
    """The uid for programs that refuse to be root; None where the harness is not root."""
    return NOBODY if os.geteuid() == 0 else None


def dotted(version: tuple[int, ...]) -> str:
    """A version as it is written."""
    return ".".join(map(str, version))
