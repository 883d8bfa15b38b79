"""Programs from their projects' own release archives, checked against the published checksums."""

import asyncio
import hashlib
import os
import platform
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import aiohttp

from brownout.errors import ServerError
from brownout.servers.program import Recipe

__all__ = ["Releases"]

REACH_S = 3.0
"""Longest wait for the first answer of the first release host; one that is not reached is not asked again."""

STALL_S = 20.0
"""Longest pause in a download."""

CHUNK_BYTES = 1 << 18

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class _OutOfReachError(Exception):
    """The release cannot be had from here; it may still be built."""


class Releases:
    """Fetches release archives; remembers when their hosts cannot be reached.

    Args:
        mirror: base URL of a server with the same paths, asked in place of every release host; None: the hosts
            themselves; empty: none.
    """

    def __init__(self, mirror: str | None) -> None:
        self._mirror = mirror
        self._reachable = mirror != ""

    @classmethod
    def from_environment(cls) -> "Releases":
        """With ``$BROWNOUT_RELEASES`` as the mirror."""
        return cls(os.environ.get("BROWNOUT_RELEASES"))

    async def fetch(self, recipe: Recipe, folder: Path, tell: Callable[[float | None], None]) -> bool:
        """Put a server's released program into a folder.

        Args:
            recipe: says where its release is.
            folder: an empty folder.
            tell: told the fraction that has been downloaded.

        Returns:
            whether it is there; False: there is no release for this machine, or none can be reached.

        Raises:
            ServerError: the archive is not the one that was published.
        """
        arch = _ARCHITECTURES.get(platform.machine())
        if not (self._reachable and recipe.release and arch):
            return False
        archive, checksums = (
            self._url(each.format(version=recipe.version, arch=arch))
            for each in (recipe.release.archive, recipe.release.checksums)
        )
        download = folder / archive.rpartition("/")[2]
        try:
            async with _session() as session:
                wanted = _sum_of(await self._read(session, checksums), download.name)
                found = await _download(session, archive, download, tell)
        except (_OutOfReachError, aiohttp.ClientError, TimeoutError):
            download.unlink(missing_ok=True)
            return False
        if found != wanted:
            raise ServerError(
                recipe.name,
                f"{archive} has the SHA-256 sum {found}, but {wanted} was published",
                "do not use it; BROWNOUT_RELEASES= (empty) builds from source instead",
            )
        await asyncio.to_thread(_extract, download, recipe.binary, folder)
        download.unlink()
        return True

    def _url(self, url: str) -> str:
        return url if self._mirror is None else self._mirror.rstrip("/") + urlsplit(url).path

    async def _read(self, session: aiohttp.ClientSession, url: str) -> str:
        """Read a small file, the first thing that is asked of a host."""
        try:
            async with asyncio.timeout(REACH_S), session.get(url) as response:
                if response.ok:
                    return await response.text()
        except (aiohttp.ClientConnectionError, TimeoutError):
            self._reachable = False
            raise
        raise _OutOfReachError


def _session() -> aiohttp.ClientSession:
    limit = aiohttp.ClientTimeout(total=None, sock_connect=REACH_S, sock_read=STALL_S)
    return aiohttp.ClientSession(timeout=limit, trust_env=True)


def _sum_of(checksums: str, name: str) -> str:
    """The sum of a file, from lines of ``<sum>  <name>`` or ``<sum> *<name>``."""
    for line in checksums.splitlines():
        match line.split():
            case [found, file] if file.removeprefix("*") == name:
                return found.lower()
    raise _OutOfReachError


async def _download(
    session: aiohttp.ClientSession, url: str, target: Path, tell: Callable[[float | None], None]
) -> str:
    """Download to a file and return the SHA-256 sum of what came."""
    digest, size = hashlib.sha256(), 0
    async with session.get(url) as response:
        if not response.ok:
            raise _OutOfReachError
        with target.open("wb") as file:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                tell(size / response.content_length if response.content_length else None)
    return digest.hexdigest()


def _extract(archive: Path, binary: str, folder: Path) -> None:
    """Take the one program out of an archive, wherever in it that is."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            inside = [each for each in packed.namelist() if each.rpartition("/")[2] == binary]
            with packed.open(_only(inside, archive, binary)) as program:
                _write(program, folder / binary)
        return
    with tarfile.open(archive) as rolled:
        files = [each.name for each in rolled if each.isfile() and each.name.rpartition("/")[2] == binary]
        program_file = rolled.extractfile(_only(files, archive, binary))
        assert program_file is not None  # noqa: S101  only regular files were listed
        with program_file:
            _write(program_file, folder / binary)


def _only(inside: list[str], archive: Path, binary: str) -> str:
    if len(inside) != 1:
        raise ServerError(binary, f"{archive.name} holds {len(inside)} files of that name, not one")
    return inside[0]


def _write(program: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(program, file)
    target.chmod(0o755)
