"""Configuration: the keys of this process's cell in Consul, read, written and watched (clause 5)."""

import asyncio
import logging
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from brownout_shop.discovery.consul import NOT_FOUND, UNREACHABLE, newer, told

__all__ = ["Changed", "Configuration", "KeyNotFoundError"]

ANSWER_WITHIN_S = 2.5
ERROR_WAIT_S = 5.0  # before a watch asks again (clause 5)

Changed = Callable[[str], object]
"""Told each new value of a key; whatever it raises is logged, and the value is ignored."""

log = logging.getLogger(__name__)


class KeyNotFoundError(LookupError):
    """There is no such key."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key as Consul has it: its value, and the index at which it was last written."""

    value: str
    index: int


class Configuration:
    """A cell's keys, below the prefix ``<cell>/``; the watches are tasks of its own while it is held open.

    Args:
        consul_url: base address of Consul's HTTP API.
        cell: the environment.
    """

    def __init__(self, consul_url: str, cell: str) -> None:
        self._prefix = f"{consul_url.rstrip('/')}/v1/kv/{cell}/"
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def get(self, key: str) -> str:
        """Return a key's value.

        Raises:
            KeyNotFoundError: there is no such key.
            aiohttp.ClientError, TimeoutError: Consul did not answer, or refused.
        """
        async with self._session.get(self._prefix + key, timeout=_ANSWER) as answer:
            if answer.status == NOT_FOUND:
                raise KeyNotFoundError(f"key not found: {key}")
            answer.raise_for_status()
            return _entry(await answer.json()).value

    async def set(self, key: str, value: str) -> None:
        """Give a key a value, whether it is there or not.

        Raises:
            aiohttp.ClientError, TimeoutError: Consul did not answer, or refused.
        """
        async with self._session.put(self._prefix + key, data=value.encode(), timeout=_ANSWER) as answer:
            answer.raise_for_status()

    def watch(self, key: str, changed: Changed) -> None:
        """Tell the key's value whenever it was written, at first too if it is there; one that is away says nothing."""
        self._tasks.append(asyncio.create_task(self._watch(key, changed), name=f"watch {key}"))

    async def _watch(self, key: str, changed: Changed) -> None:
        index, seen = 0, None
        while True:
            try:
                previous, (index, entry) = index, await self._newer(key, index)
            except UNREACHABLE as error:
                log.warning("the watch of %s goes on in %g s: %s", key, ERROR_WAIT_S, told(error))
                await asyncio.sleep(ERROR_WAIT_S)
                index = 0  # it may be another agent by then, which counts anew
                continue
            if index < previous:
                index = 0
            if entry and entry != seen:
                _tell(key, entry.value, changed)
            seen = entry

    async def _newer(self, key: str, index: int) -> tuple[int, _Entry | None]:
        index, document = await newer(self._session, self._prefix + key, index)
        return index, _entry(document) if document else None


def _tell(key: str, value: str, changed: Changed) -> None:
    try:
        changed(value)
    except Exception as error:  # noqa: BLE001 - a value that nobody can use must not make the watch deaf to the next
        log.warning("%s = %r is ignored: %s", key, value, told(error))
    else:
        log.info("%s = %r", key, value)


def _entry(document: Any) -> _Entry:
    """Return the one entry of Consul's answer, whose value is in base64, or null for an empty one."""
    (found,) = document
    return _Entry(b64decode(found["Value"] or "").decode(errors="replace"), found["ModifyIndex"])


_ANSWER = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
