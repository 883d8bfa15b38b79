"""Runs a program to learn its version, and whether it is one that works here."""

import re
import shutil
import subprocess
from pathlib import Path

from brownout.servers.program import Program, Recipe

__all__ = ["on_path", "probe"]

PROBE_S = 20.0
"""Longest that a program may take to tell its version: its first start reads 100 MB from a cold disk."""


def probe(recipe: Recipe, path: Path, run_by: tuple[str, ...] = ()) -> tuple[str, str]:
    """Run a program to see whether it is fit.

    Args:
        recipe: says which version is.
        path: the program.
        run_by: what runs it; empty where it runs by itself.

    Returns:
        its version and an empty text, or an empty version and why it is not fit.
    """
    for companion in recipe.companions:
        if not path.with_name(companion).exists():
            return "", f"{path} has no {companion} beside it"
    try:
        said = subprocess.run(
            [*(run_by or (path,)), *recipe.version_argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=PROBE_S,
            check=True,
            cwd="/",
            user=recipe.user,
            group=recipe.user,
            extra_groups=None if recipe.user is None else [],
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError) as error:
        return "", f"{path} cannot be run{_as_user(recipe.user)}: {_why(error)}"
    return _judge(recipe, path, said.partition("\n")[0])


def on_path(recipe: Recipe) -> tuple[Program | None, str]:
    """The fit program on PATH, or None and why the one that is there is not fit."""
    found = shutil.which(recipe.binary)
    if found is None:
        return None, ""
    version, unfit = probe(recipe, Path(found))
    return (None, unfit) if unfit else (Program(recipe.name, Path(found), version, "PATH"), "")


def _judge(recipe: Recipe, path: Path, line: str) -> tuple[str, str]:
    found = re.search(r"\d+(\.\d+)+", line)
    if found is None:
        return "", f"{path} does not tell its version"
    version = tuple(int(part) for part in found[0].split("."))
    if version < recipe.at_least or (recipe.below and version >= recipe.below):
        return "", f"{path} is {found[0]}, wanted is {recipe.wanted}"
    return found[0], ""


def _why(error: Exception) -> str:
    match error:
        case OSError():
            return str(error.strerror)
        case subprocess.TimeoutExpired():
            return f"no version within {PROBE_S:g} s"
        case subprocess.CalledProcessError():
            return f"it ended with {error.returncode}"
    return str(error)


def _as_user(user: int | None) -> str:
    return "" if user is None else f" by uid {user}"
