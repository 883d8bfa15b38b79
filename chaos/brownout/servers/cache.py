"""Where programs are kept between runs, and the lock that lets one run at a time make them."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import platformdirs

from brownout.errors import ServerError

__all__ = ["Cache", "cache_folder", "open_to_all"]

LOCK_POLL_S = 0.2


def cache_folder() -> Path:
    """``$BROWNOUT_CACHE``; else, for root, a place that other users may enter, since Postgres runs as one."""
    if chosen := os.environ.get("BROWNOUT_CACHE"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/brownout")
    return platformdirs.user_cache_path("brownout")


class Cache:
    """A folder of programs, ``<server>-<version>/<binary>``; what is there is whole.

    Args:
        folder: where it is; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def workshop(self) -> Path:
        """The folder for work under way; what is in there is never taken for a result."""
        return self.folder / "building"

    def log(self, name: str) -> Path:
        """The file for the output of making something; it is kept when that fails."""
        return self.folder / "logs" / f"{name}.log"

    @asynccontextmanager
    async def making(self, waiting: Callable[[], None]) -> AsyncIterator[int]:
        """Hold the right to make programs; yields the lock's descriptor.

        A process that is given the descriptor holds the lock as well: while a compiler outlives a killed run,
        the next run waits for it.

        Args:
            waiting: called once if another run has the lock.

        Raises:
            ServerError: the folder cannot be written.
        """
        try:
            for folder in (self.folder, self.workshop, self.folder / "logs"):
                _make_open(folder)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ServerError(
                "cache", f"{error.filename}: {error.strerror}", "set BROWNOUT_CACHE to a folder that can be written"
            ) from None
        try:
            await _take(lock, waiting)
            yield lock
        finally:
            os.close(lock)

    def keep(self, made: Path, name: str) -> Path:
        """Move a finished folder into the cache, whole, under a name; returns its new place."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)  # one without its program, or it would have been used
        made.rename(target)
        return target

    def tidy(self) -> None:
        """Remove what was only needed to make something."""
        shutil.rmtree(self.workshop, ignore_errors=True)


async def _take(lock: int, waiting: Callable[[], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                waiting()
                told = True
            await asyncio.sleep(LOCK_POLL_S)
        else:
            return


def _make_open(folder: Path) -> None:
    """Make a folder that every user may enter, whatever the umask is; one that is there is left as it is."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)


def open_to_all(folder: Path) -> None:
    """Let every user read what the maker may read, and run what it may run, whatever its umask is."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o044 | (0o011 if mode & 0o100 else 0))
