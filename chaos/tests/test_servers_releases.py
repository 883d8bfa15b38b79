"""Release archives, from a file server on loopback that has the layout of the real hosts."""

import asyncio
import hashlib
import io
import socket
import tarfile
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from brownout.errors import ServerError
from brownout.servers import releases
from brownout.servers.cache import Cache
from brownout.servers.program import Recipe
from brownout.servers.provision import RECIPES, provision
from brownout.servers.releases import Releases

RELEASED = [recipe for recipe in RECIPES if recipe.release]


class Mirror:
    """A file server of release archives that counts what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.url = ""

    def publish(self, recipe: Recipe, *, checksum: str = "") -> None:
        """Put up a recipe's release: a script that tells the version, packed as the project packs it."""
        assert recipe.release
        archive, checksums = (
            self.folder / urlsplit(url.format(version=recipe.version, arch="amd64")).path.lstrip("/")
            for url in (recipe.release.archive, recipe.release.checksums)
        )
        archive.parent.mkdir(parents=True)
        _pack(archive, recipe.binary, f"#!/bin/sh\necho {recipe.name} v{recipe.version}\n".encode())
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        checksums.write_text(f"{'0' * 64}  another.tar.gz\n{checksum or found} *{archive.name}\n")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        file = self.folder / request.path.lstrip("/")
        return web.FileResponse(file) if file.is_file() else web.Response(status=404)


def _pack(archive: Path, binary: str, content: bytes) -> None:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("LICENSE.txt", "free")
            packed.writestr(binary, content)
        return
    with tarfile.open(archive, "w:gz") as rolled:
        for name, data in (("top/LICENSE", b"free"), (f"top/{binary}", content)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            rolled.addfile(member, io.BytesIO(data))


@pytest.fixture
async def mirror(tmp_path: Path) -> AsyncIterator[Mirror]:
    made = Mirror(tmp_path / "mirror")
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "new"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def bare_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def _ignore(*_: object) -> None: ...


def _files(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


@pytest.mark.parametrize("recipe", RELEASED, ids=lambda recipe: recipe.name)
async def test_a_released_server_is_fetched_into_the_cache_and_runs(
    recipe: Recipe, mirror: Mirror, tmp_path: Path
) -> None:
    mirror.publish(recipe)
    cache = Cache(tmp_path / "cache")
    programs = await provision((recipe,), cache, Releases(mirror.url), _ignore)
    program = programs[recipe.name]
    assert (program.source, program.version) == ("release", recipe.version)
    assert program.path == cache.folder / f"{recipe.name}-{recipe.version}" / recipe.binary
    again = await provision((recipe,), cache, Releases(mirror.url), _ignore)
    assert again[recipe.name].source == "cache"
    assert len(mirror.asked) == 2  # the sums and the archive, once


async def test_a_release_with_another_sum_than_the_published_one_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    recipe = RELEASED[0]
    mirror.publish(recipe, checksum="f" * 64)
    cache = Cache(tmp_path / "cache")
    with pytest.raises(ServerError, match=f"has the SHA-256 sum .* but {'f' * 64} was published"):
        await provision((recipe,), cache, Releases(mirror.url), _ignore)
    assert not (cache.folder / recipe.folder).exists()


async def test_two_runs_at_once_fetch_it_once(mirror: Mirror, tmp_path: Path) -> None:
    recipe = RELEASED[0]
    mirror.publish(recipe)
    said: list[str] = []

    async def one() -> str:
        found = await provision(
            (recipe,),
            Cache(tmp_path / "cache"),
            Releases(mirror.url),
            lambda _, phase, __: said.append(phase),
        )
        return str(found[recipe.name].path)

    assert len({await each for each in asyncio.as_completed([one(), one()])}) == 1
    assert len(mirror.asked) == 2
    assert any("another run" in phase for phase in said)


async def test_the_progress_of_a_download_reaches_its_end(mirror: Mirror, folder: Path) -> None:
    mirror.publish(RELEASED[0])
    told: list[float | None] = []
    assert await Releases(mirror.url).fetch(RELEASED[0], folder, told.append)
    assert told[-1] == 1.0
    assert _files(folder) == [RELEASED[0].binary]


async def test_a_release_that_was_never_published_is_left_to_the_builder(mirror: Mirror, folder: Path) -> None:
    assert not await Releases(mirror.url).fetch(RELEASED[0], folder, _ignore)
    assert _files(folder) == []


async def test_an_archive_without_a_published_sum_is_never_downloaded(mirror: Mirror, folder: Path) -> None:
    mirror.publish(RELEASED[0])
    sums = next(mirror.folder.rglob("checksums.txt"))
    sums.write_text("0" * 64 + "  another.tar.gz\n")
    assert not await Releases(mirror.url).fetch(RELEASED[0], folder, _ignore)
    assert len(mirror.asked) == 1


async def test_hosts_that_do_not_answer_cost_one_short_wait_in_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "REACH_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        fetcher = Releases(silent_url)
        begun_s = time.monotonic()
        for recipe in RELEASED:
            assert not await fetcher.fetch(recipe, folder, _ignore)
        assert 0.2 < time.monotonic() - begun_s < 0.6


async def test_an_empty_mirror_switches_releases_off(mirror: Mirror, folder: Path) -> None:
    mirror.publish(RELEASED[0])
    assert not await Releases("").fetch(RELEASED[0], folder, _ignore)
    assert mirror.asked == []


async def test_no_release_is_tried_for_a_machine_that_has_none(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.publish(RELEASED[0])
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert not await Releases(mirror.url).fetch(RELEASED[0], folder, _ignore)
    assert mirror.asked == []
