"""Asking Consul: blocking queries, and the errors by which it cannot be reached (clause 5)."""

from typing import Any

import aiohttp

__all__ = ["NOT_FOUND", "UNREACHABLE", "WAIT_S", "newer", "told"]

WAIT_S, WAIT_SLACK_S = 10, 3  # of a blocking query (clause 5)
NOT_FOUND = 404
UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError)
"""No answer, an error, or one that Consul would not give: no JSON, no index."""


async def newer(session: aiohttp.ClientSession, url: str, index: int, **query: str) -> tuple[int, Any]:
    """Return what is newer than an index once there is something, or what there is after `WAIT_S`.

    Args:
        session: asks.
        url: what is asked.
        index: of the answer before; 0 asks for what there is now.
        query: further parameters.

    Returns:
        The new index, at least 1, as 0 would never wait; and the document, None where there is none (404).

    Raises:
        UNREACHABLE: there was no answer in time, or it was an error.
    """
    parameters = {**query, "index": str(index), "wait": f"{WAIT_S}s"}
    timeout = aiohttp.ClientTimeout(total=WAIT_S + WAIT_SLACK_S)
    async with session.get(url, params=parameters, timeout=timeout) as answer:
        document = None
        if answer.status != NOT_FOUND:
            answer.raise_for_status()
            document = await answer.json()
        return max(1, int(answer.headers["X-Consul-Index"])), document


def told(error: BaseException) -> str:
    """Return an error in words; some have none of their own."""
    return str(error) or type(error).__name__
