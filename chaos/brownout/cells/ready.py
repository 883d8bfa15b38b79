"""Whether a service answers, as it is asked while it starts."""

import aiohttp

__all__ = ["READY_S", "answers"]

READY_S = 90.0
"""How long a service may take to answer and to be registered: many start at once on a small machine."""

ANSWER_S = 5.0


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether a page is there, and in order."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as response:
            return response.ok
    except (aiohttp.ClientError, TimeoutError):
        return False
