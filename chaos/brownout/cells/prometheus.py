"""The metrics of a cell, as Prometheus scraped them."""

import asyncio
import math
from typing import Any

import msgspec

from brownout.cells.api import Api
from brownout.recording import SCRAPE_S, Series

__all__ = ["Prometheus"]

ARRIVAL_BOUND_S = 5.0
"""Longest wait for the scrape that follows the end of the time asked for."""

POLL_S = 0.2
LEFT_OUT = ".+_bucket|.+_created|(python|process|scrape)_.+"
"""Metrics that judge nothing: histograms are kept as sum and count, and internals not at all."""


class _Data(msgspec.Struct):
    result: list[dict[str, Any]]


class _Answer(msgspec.Struct):
    data: _Data


class Prometheus(Api):
    """One Prometheus server.

    Args:
        address: ``host:port`` of its HTTP API.
    """

    def __init__(self, address: str) -> None:
        super().__init__("prometheus", address)

    async def collect(self, cell: str, from_ns: int, to_ns: int) -> list[Series]:
        """The samples of a cell, at the times they were scraped, but for those named in ``LEFT_OUT``.

        Waits, at most ``ARRIVAL_BOUND_S``, until all targets of the cell were scraped after ``to_ns``; that scrape
        is the last one, so that the shortest run has one. Samples that are no finite number are left out.

        Args:
            cell: the value of the label ``cell``.
            from_ns: the first moment, in Unix nanoseconds.
            to_ns: the last moment, in Unix nanoseconds.

        Raises:
            CellError: the server did not answer.
        """
        end_s = await self._scraped(cell, to_ns / 1e9)
        span_ms = math.ceil((end_s - from_ns / 1e9) * 1e3)
        found = await self._query(f'{{cell="{cell}", __name__!~"{LEFT_OUT}"}}[{max(span_ms, 1)}ms]', at_s=end_s)
        series = [Series(each["metric"], _points(each["values"])) for each in found]
        return [each for each in series if each.points]

    async def evaluate(self, query: str, from_ns: int, to_ns: int) -> list[Series]:
        """What a query comes to at each `SCRAPE_S` of a time; points that are no finite number are left out.

        Raises:
            CellError: it is no query, or the server did not answer.
        """
        form = {"query": query, "start": f"{from_ns / 1e9:.3f}", "end": f"{to_ns / 1e9:.3f}", "step": f"{SCRAPE_S:g}"}
        found = [Series(each["metric"], _points(each["values"])) for each in await self._post("query_range", form)]
        return [each for each in found if each.points]

    async def _scraped(self, cell: str, at_s: float) -> float:
        """Wait for the samples of ``at_s``; a cell without targets is waited for as well, in vain.

        Returns:
            when all were scraped after it; ``at_s`` where they were not.
        """
        deadline = asyncio.get_running_loop().time() + ARRIVAL_BOUND_S
        while asyncio.get_running_loop().time() < deadline:
            times = await self._query(f'timestamp(up{{cell="{cell}"}})')
            scraped_s = [float(each["value"][1]) for each in times]
            if scraped_s and min(scraped_s) >= at_s:
                return max(scraped_s)
            await asyncio.sleep(POLL_S)
        return at_s

    async def _query(self, query: str, at_s: float | None = None) -> list[dict[str, Any]]:
        return await self._post("query", {"query": query} if at_s is None else {"query": query, "time": f"{at_s:.3f}"})

    async def _post(self, what: str, form: dict[str, str]) -> list[dict[str, Any]]:
        body, _ = await self.ask("POST", f"/api/v1/{what}", form["query"], data=form)
        return msgspec.json.decode(body, type=_Answer).data.result


def _points(values: list[list[Any]]) -> list[tuple[float, float]]:
    points = [(float(at), float(value)) for at, value in values]
    return [point for point in points if math.isfinite(point[1])]  # JSON has no others
