"""What the observing servers know of a cell: its spans from Jaeger, its metrics from Prometheus, where it has any."""

from brownout.cells.jaeger import Jaeger
from brownout.cells.prometheus import Prometheus
from brownout.errors import CellError
from brownout.recording import Series, Span

__all__ = ["ServerTelemetry"]


class ServerTelemetry:
    """The telemetry of one cell; implements `brownout.cell.Telemetry`.

    Args:
        jaeger: ``host:port`` of Jaeger's query API; None: the system sends no spans.
        prometheus: ``host:port`` of Prometheus' API; None: the system is not scraped.
        cell: the cell's name: the traces' environment and the metrics' label.
    """

    def __init__(self, jaeger: str | None, prometheus: str | None, cell: str) -> None:
        self._jaeger = jaeger
        self._prometheus = prometheus
        self._cell = cell

    async def collect(
        self, from_ns: int, to_ns: int, traces: frozenset[str]
    ) -> tuple[list[Span] | None, list[Series] | None]:
        """Spans of the traces, and all metric series, of a time; None for what there is no server of.

        Raises:
            CellError: a server did not answer.
        """
        return await self._spans(traces), await self._series(from_ns, to_ns)

    async def evaluate(self, query: str, from_ns: int, to_ns: int) -> list[Series]:
        """What a query comes to over a time; ``$cell`` in it is the cell's name.

        Raises:
            CellError: it is no query, the server did not answer, or there is none.
        """
        if self._prometheus is None:
            raise CellError("prometheus", f"{query}: not scraped", "only services that name {consul} can be found")
        async with Prometheus(self._prometheus) as prometheus:
            return await prometheus.evaluate(query.replace("$cell", self._cell), from_ns, to_ns)

    async def _spans(self, traces: frozenset[str]) -> list[Span] | None:
        if self._jaeger is None:
            return None
        async with Jaeger(self._jaeger) as jaeger:
            return await jaeger.collect(traces)

    async def _series(self, from_ns: int, to_ns: int) -> list[Series] | None:
        if self._prometheus is None:
            return None
        async with Prometheus(self._prometheus) as prometheus:
            return await prometheus.collect(self._cell, from_ns, to_ns)
